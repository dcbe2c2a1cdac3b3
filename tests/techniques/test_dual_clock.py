"""Held steps of dual-clock sampling: the steps before which the reference is restored."""

from __future__ import annotations

from dataclasses import replace

import pytest
from diffusers import DDIMScheduler

from videogen.sampling.step_plan import StepRow
from videogen.schedulers import build_solver
from videogen.techniques.dual_clock import HeldSteps, find_held_steps

SOLVER = build_solver("ddim", DDIMScheduler(), 10)
STEPS = [StepRow(i, 1000.0 - 100 * i, None, int(i > 7), 1.0) for i in range(10)]
HEUN = [
    StepRow(i, t, None, 0, 1.0) for i, t in enumerate((1000.0, 800.0, 800.0, 600.0, 600.0, 400.0, 400.0, 200.0, 200.0))
]


@pytest.mark.parametrize(
    ("plan", "weak", "strong", "held"),
    [
        pytest.param(STEPS, 900, 600, HeldSteps(range(1, 5), 5, 0.0, 600), id="a step at the level"),
        pytest.param(STEPS, 900, 625, HeldSteps(range(1, 4), 4, 0.75, 625), id="a level between steps"),
        pytest.param(STEPS, 900, 890, HeldSteps(range(1, 2), 2, 0.1, 890), id="less than a step"),
        pytest.param(STEPS, 640, 620, HeldSteps(range(4, 5), 5, 0.0, 600), id="between two steps"),
        pytest.param(STEPS, 900, 250, HeldSteps(range(1, 8), 8, 0.0, 300), id="not into the second expert"),
        pytest.param(
            [replace(row, expert=0) for row in STEPS],
            900,
            25,
            HeldSteps(range(1, 10), 10, 0.75, 25),
            id="within the last step",
        ),
        pytest.param(HEUN, 800, 450, HeldSteps(range(2, 5), 6, 0.75, 450), id="a solver with two calls per step"),
    ],
)
def test_a_motion_is_held_down_to_its_level(plan: list[StepRow], weak: float, strong: float, held: HeldSteps) -> None:
    found = find_held_steps(plan, weak, strong, SOLVER)
    assert (found.steps, found.after) == (held.steps, held.after)
    assert (found.fraction, found.until) == pytest.approx((held.fraction, held.until))
    expected = [1.0 if i in held.steps else held.fraction if i == held.after else 0.0 for i in range(len(plan) + 1)]
    assert [held.fraction_at(index) for index in range(len(plan) + 1)] == expected


@pytest.mark.parametrize("timesteps", [(999, 0), (999, 666, 333, 0)])
@pytest.mark.parametrize(("weak", "strong"), [(900, 300), (300, 100), (300, 0.5)])
def test_a_plan_may_end_at_0(timesteps: tuple[float, ...], weak: float, strong: float) -> None:
    """AnimateDiff's default schedules end at 0: their last step has length 0, and no fraction of it can be held."""
    held = find_held_steps([StepRow(i, t, None, 0, 1.0) for i, t in enumerate(timesteps)], weak, strong, SOLVER)
    assert (
        0 <= held.fraction <= 1
        and held.steps.stop - 1 < len(timesteps)
        and held.until >= min(strong, timesteps[held.steps.start])
    )


@pytest.mark.parametrize("steps", [3, 5, 20, 50])
def test_a_motion_is_held_to_the_same_level_for_any_number_of_steps(steps: int) -> None:
    plan = [StepRow(i, 1000 * (1 - i / steps), None, 0, 1.0) for i in range(steps)]
    assert find_held_steps(plan, 900, 370, SOLVER).until == pytest.approx(370)


def test_rows_are_labelled() -> None:
    held = find_held_steps(STEPS, 900, 625, SOLVER)
    assert [held.label(row.index) for row in STEPS] == ["skipped", "held", "held", "partly"] + ["free"] * 6
