"""At which steps dual-clock sampling puts its reference back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from videogen.engine.dual_clock import Held, held_steps
from videogen.engine.plan import StepRow

STEPS = [StepRow(i, 1000.0 - 100 * i, None, int(i > 7), 1.0) for i in range(10)]
HEUN = [StepRow(i, t, None, 0, 1.0) for i, t in enumerate((1000.0, 800.0, 800.0, 600.0, 600.0, 400.0, 400.0, 200.0, 200.0))]


@pytest.mark.parametrize(
    ("plan", "weak", "strong", "held"),
    [
        pytest.param(STEPS, 900, 600, Held(range(1, 5), 5, 0.0, 600), id="a step at the level"),
        pytest.param(STEPS, 900, 625, Held(range(1, 4), 4, 0.75, 625), id="a level between steps"),
        pytest.param(STEPS, 900, 890, Held(range(1, 3), 3, 0.0, 800), id="at least one step"),
        pytest.param(STEPS, 900, 250, Held(range(1, 8), 8, 0.0, 300), id="not into the second expert"),
        pytest.param([replace(row, expert=0) for row in STEPS], 900, 25, Held(range(1, 10), 10, 0.75, 25), id="within the last step"),
        pytest.param(HEUN, 800, 450, Held(range(2, 5), 6, 0.75, 450), id="a solver of two calls a step"),
    ],
)
def test_a_motion_is_held_down_to_its_level(plan: list[StepRow], weak: float, strong: float, held: Held) -> None:
    assert held_steps(plan, weak, strong, object()) == held
    wanted = [1.0 if i in held.steps else held.share if i == held.after else 0.0 for i in range(len(plan) + 1)]
    assert [held.share_at(index) for index in range(len(plan) + 1)] == wanted
