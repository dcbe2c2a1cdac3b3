"""Plots by step: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest

from videogen.media.plots import WIDTH, Lines, Rows, draw_panels

BLUE, ORANGE = (44, 110, 180), (224, 122, 48)


def count(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image.astype(int) - colour).max(-1) < 12).sum())


def test_lines_are_drawn_at_their_values() -> None:
    """A line at 75 % of the axis is half of its 150 px above one at 25 %."""
    panel = Lines("Title", {"one": [75.0] * 5, "two": [25.0] * 5}, 5, high=100.0)
    image = draw_panels([], [panel])
    assert image.shape[1:] == (WIDTH, 3) and image.dtype == np.uint8
    rows = [np.flatnonzero((np.abs(image.astype(int) - colour).max(-1) < 12).sum(1) > 100) for colour in (BLUE, ORANGE)]
    assert rows[1].mean() - rows[0].mean() == pytest.approx(75, abs=2)


@pytest.mark.parametrize("number", [2, 3])
def test_lines_that_coincide_are_all_visible(number: int) -> None:
    """Each has its part of their common line; dots are rings."""
    colours = [BLUE, ORANGE, (60, 150, 90)][:number]
    values = [0.5, 0.25, 0.75, 0.5]
    drawn = draw_panels([], [Lines("", {str(n): values for n in range(number)}, 4, high=1.0)])
    legend = draw_panels([], [Lines("", {str(n): [None] * 4 for n in range(number)}, 4, high=1.0)])
    inked = [count(drawn, colour) - count(legend, colour) for colour in colours]
    assert min(inked) > 0.5 * max(inked)


def test_steps_without_a_value_are_not_drawn() -> None:
    dots = draw_panels([], [Lines("", {"one": [None, 0.5, None]}, 3, high=1.0)])
    none = draw_panels([], [Lines("", {"one": [None, None, None]}, 3, high=1.0)])
    assert 0 < count(dots, BLUE) - count(none, BLUE) < 60


def test_rows_are_filled_where_steps_were_evaluated() -> None:
    def filled(steps: list[int]) -> int:
        return count(draw_panels([], [Rows("", {"cond": steps}, 10, ("yes", "no"))]), BLUE)

    assert filled([0, 1, 2]) - filled([0]) == pytest.approx(2 * (filled([1]) - filled([])), rel=0.05)


@pytest.mark.parametrize("steps", [1, 200], ids=["one step", "many steps"])
def test_runs_of_any_length_are_drawn(steps: int) -> None:
    values = [float(10.0**-step) for step in np.linspace(0, 4, steps)]
    panels: list[Lines | Rows] = [
        Lines("", {"one": values}, steps, log=True),
        Rows("", {"one": range(0, steps, 2)}, steps, ("a", "b")),
    ]
    image = draw_panels(["text"], panels)
    assert count(image, BLUE) > 30
