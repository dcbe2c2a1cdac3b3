"""Clamped steps of dual-clock sampling: the steps before which the reference is restored."""

from __future__ import annotations

from dataclasses import replace

import pytest
from diffusers import DDIMScheduler

from videogen.sampling.step_plan import StepRow
from videogen.schedulers import build_solver
from videogen.schedulers.dual_clock import ClampSchedule
from videogen.techniques.dual_clock import build_clamp_schedule

SOLVER = build_solver("ddim", DDIMScheduler(), 10)
STEPS = [StepRow(i, 1000.0 - 100 * i, None, int(i > 7), 1.0) for i in range(10)]
HEUN = [
    StepRow(i, t, None, 0, 1.0) for i, t in enumerate((1000.0, 800.0, 800.0, 600.0, 600.0, 400.0, 400.0, 200.0, 200.0))
]


@pytest.mark.parametrize(
    ("plan", "weak", "strong", "clamps"),
    [
        pytest.param(STEPS, 900, 600, ClampSchedule(range(1, 5), 5, 0.0, 600), id="a step at the level"),
        pytest.param(STEPS, 900, 625, ClampSchedule(range(1, 4), 4, 0.75, 625), id="a level between steps"),
        pytest.param(STEPS, 900, 890, ClampSchedule(range(1, 2), 2, 0.1, 890), id="less than a step"),
        pytest.param(STEPS, 640, 620, ClampSchedule(range(4, 5), 5, 0.0, 600), id="between two steps"),
        pytest.param(STEPS, 900, 250, ClampSchedule(range(1, 8), 8, 0.0, 300), id="not into the second expert"),
        pytest.param(
            [replace(row, expert=0) for row in STEPS],
            900,
            25,
            ClampSchedule(range(1, 10), 10, 0.75, 25),
            id="within the last step",
        ),
        pytest.param(HEUN, 800, 450, ClampSchedule(range(2, 5), 6, 0.75, 450), id="a solver with two calls per step"),
    ],
)
def test_a_motion_is_clamped_down_to_its_level(
    plan: list[StepRow], weak: float, strong: float, clamps: ClampSchedule
) -> None:
    found = build_clamp_schedule(plan, weak, strong, SOLVER)
    assert (found.steps, found.after) == (clamps.steps, clamps.after)
    assert (found.fraction, found.until) == pytest.approx((clamps.fraction, clamps.until))
    expected = [
        1.0 if i in clamps.steps else clamps.fraction if i == clamps.after else 0.0 for i in range(len(plan) + 1)
    ]
    assert [clamps.fraction_at(index) for index in range(len(plan) + 1)] == expected


@pytest.mark.parametrize("timesteps", [(999, 0), (999, 666, 333, 0)])
@pytest.mark.parametrize(("weak", "strong"), [(900, 300), (300, 100), (300, 0.5)])
def test_a_plan_may_end_at_0(timesteps: tuple[float, ...], weak: float, strong: float) -> None:
    """AnimateDiff's default schedules end at 0: their last step has length 0, and no fraction of it can be clamped."""
    clamps = build_clamp_schedule([StepRow(i, t, None, 0, 1.0) for i, t in enumerate(timesteps)], weak, strong, SOLVER)
    assert (
        0 <= clamps.fraction <= 1
        and clamps.steps.stop - 1 < len(timesteps)
        and clamps.until >= min(strong, timesteps[clamps.steps.start])
    )


@pytest.mark.parametrize("steps", [3, 5, 20, 50])
def test_a_motion_is_held_to_the_same_level_for_any_number_of_steps(steps: int) -> None:
    plan = [StepRow(i, 1000 * (1 - i / steps), None, 0, 1.0) for i in range(steps)]
    assert build_clamp_schedule(plan, 900, 370, SOLVER).until == pytest.approx(370)


def test_rows_are_labelled() -> None:
    clamps = build_clamp_schedule(STEPS, 900, 625, SOLVER)
    assert [clamps.label(row.index) for row in STEPS] == ["skipped", "clamped", "clamped", "partly"] + ["free"] * 6
