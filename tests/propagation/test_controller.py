"""Key steps under a budget, with known error laws: the estimate covers the propagated error, and easy runs stay
cheap."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from videogen.propagation.build_controller import build_controller
from videogen.propagation.config import StepCaching
from videogen.propagation.controller import ErrorControl, FixedKeySteps
from videogen.schedulers.levels import NoiseLevel

STEPS = 40


def levels(steps: int = STEPS) -> list[NoiseLevel]:
    angles = [math.pi / 2 * (1 - i / steps) for i in range(steps + 1)]
    return [NoiseLevel(math.cos(a), math.sin(a)) for a in angles]


def drive(
    control: ErrorControl, rate: float, surge: range = range(0), roll_back: bool = False
) -> tuple[list[int], float]:
    """Run against errors of `rate` * distance ** p, ten times that in `surge`: (key steps, the true sum of the errors
    of propagated steps)."""
    key_steps: list[int] = []
    truth: dict[int, float] = {}
    step = 0
    while step < control.steps:
        if control.is_key_step(step):
            if key_steps:
                here = rate * (10 if step in surge else 1)
                error = here * control._distance_of(key_steps[-1], step) ** (control.order + 1)
                back = control.roll_back_step(step, error) if roll_back else None
                if back is not None:
                    control.roll_back(back, error)
                    truth = {i: e for i, e in truth.items() if i < back}
                    step = back
                    continue
                control.note_error(step, error)
            else:
                control.note_error(step, None)
            key_steps.append(step)
        else:
            here = rate * (10 if step in surge else 1)
            gain = control.levels[step].step_gain(control.levels[step + 1])
            truth[step] = gain * here * control._distance_of(key_steps[-1], step) ** (control.order + 1)
        step += 1
    return key_steps, sum(truth.values())


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("rate", [0.002, 0.02, 0.2, 2.0])
@pytest.mark.parametrize("max_error", [0.01, 0.05])
def test_the_promise_is_met_where_the_law_holds(order: int, rate: float, max_error: float) -> None:
    control = ErrorControl(max_error, 1.0, levels(), order, first=2, last=1)
    key_steps, truth = drive(control, rate)
    assert truth <= max_error * (1 + 1e-9) and truth == pytest.approx(control.spent, rel=1e-6, abs=1e-12)
    assert key_steps[:2] == [0, 1] and key_steps[-1] == STEPS - 1


def test_less_error_means_fewer_key_steps() -> None:
    counts = [len(drive(ErrorControl(0.02, 1.0, levels(), 1, 2, 1), rate)[0]) for rate in (2.0, 0.2, 0.02, 0.002)]
    assert counts == sorted(counts, reverse=True) and counts[-1] < STEPS / 4


def test_a_larger_promise_needs_fewer_key_steps_and_the_factor_divides_it() -> None:
    loose, tight = (len(drive(ErrorControl(e, 1.0, levels(), 1, 2, 1), 0.2)[0]) for e in (0.1, 0.01))
    assert loose < tight
    assert (
        drive(ErrorControl(0.1, 10.0, levels(), 1, 2, 1), 0.2)[0]
        == drive(ErrorControl(0.01, 1.0, levels(), 1, 2, 1), 0.2)[0]
    )


def test_a_surge_is_undone_by_rolling_back() -> None:
    surge = range(20, 26)
    without = drive(ErrorControl(0.03, 1.0, levels(), 1, 2, 1), 0.05, surge)
    control = ErrorControl(0.03, 1.0, levels(), 1, 2, 1)
    key_steps, truth = drive(control, 0.05, surge, roll_back=True)
    assert control.forced and truth < without[1] and set(control.forced) <= set(key_steps)


def test_fixed_key_steps_know_the_next_one() -> None:
    fixed = FixedKeySteps((0, 1, 4), 6)
    assert [fixed.is_key_step(i) for i in range(6)] == [True, True, False, False, True, False]
    assert [fixed.next_key_step(i) for i in range(6)] == [1, 4, 4, 4, 6, 6]


@pytest.mark.parametrize("error", [float("nan"), float("inf"), None])
def test_an_error_that_cannot_be_measured_is_never_extrapolated(error: float | None) -> None:
    control = ErrorControl(0.5, 1.0, levels(), 1, 2, 1)
    for step in range(4):
        assert control.is_key_step(step)
        control.note_error(step, error)
    assert control.is_key_step(4)


def test_an_error_of_zero_does_not_end_the_checks() -> None:
    control = ErrorControl(0.5, 1.0, levels(), 1, 2, 1)
    key_steps, _ = drive(control, 0.0)
    assert max(after - before for before, after in pairwise(key_steps)) <= 12


def test_a_retracted_step_costs_nothing() -> None:
    control = ErrorControl(0.5, 1.0, levels(), 1, 2, 1)
    for step in range(3):
        control.is_key_step(step)
        control.note_error(step, 1e-6 if step else None)
    assert not control.is_key_step(3)
    control.retract(3)
    assert control._estimated == 0.0 and control._span == []


@pytest.mark.parametrize(
    ("keys", "first", "expected"),
    [
        pytest.param("every:3", None, [0, 3, 6, 9], id="an interval"),
        pytest.param("every:3", 3, [0, 1, 2, 3, 6, 9], id="all of the first steps too"),
        pytest.param("every:3", 99, list(range(10)), id="more of them than there are steps"),
        pytest.param((0, 4), 2, [0, 1, 4], id="a list"),
    ],
)
def test_the_first_steps_can_be_key_steps_of_any_rule(
    keys: str | tuple[int, ...], first: int | None, expected: list[int]
) -> None:
    schedule: Any = SimpleNamespace(steps=10)
    cut: Any = None
    controller = build_controller(StepCaching(keys=keys, first=first), schedule, cut, None)
    assert [step for step in range(10) if controller.is_key_step(step)] == expected
    assert controller.next_key_step(expected[0]) == (expected[1] if len(expected) > 1 else 10)
