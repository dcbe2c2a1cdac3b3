"""Plots by step as an image: lines, and rows of steps that were or were not evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .plot_canvas import Colour, Pen, Scale

WIDTH = 960
_MARGIN, _LEFT, _RIGHT = 24, 92, 24
_TITLE, _AXIS, _LINE_HEIGHT, _ROW = 34, 34, 150, 26
_LEAD = 21
_PALE, _GRID = (120, 126, 134), (226, 229, 233)
_COLOURS = ((44, 110, 180), (224, 122, 48), (60, 150, 90), (160, 80, 160), (190, 150, 30), (110, 110, 110))
_SKIPPED = (218, 226, 236)
_LOG_FROM = 10.0  # ratio of the largest to the smallest value from which an axis is logarithmic
_CHARACTERS = 124
_DASH, _DOT = 8.0, 3.0  # length and radius


@dataclass(frozen=True)
class Lines:
    """A panel of lines by step. series: name -> value of each step, None where there is none; low, high: of the axis,
    None for as high as the values are; target: a value to which they are compared; log: the axis is logarithmic where
    the values differ much."""

    title: str
    series: Mapping[str, Sequence[float | None]]
    steps: int
    low: float = 0.0
    high: float | None = None
    target: float | None = None
    log: bool = False

    height = _TITLE + _LINE_HEIGHT + _AXIS


@dataclass(frozen=True)
class Rows:
    """A panel of rows by step. rows: name -> the steps that are filled; legend: what a filled and an empty one mean."""

    title: str
    rows: Mapping[str, Sequence[int]]
    steps: int
    legend: tuple[str, str]

    @property
    def height(self) -> int:
        return _TITLE + _ROW * len(self.rows) + _AXIS


def draw_panels(text: Sequence[str], panels: Sequence[Lines | Rows]) -> np.ndarray:
    """An image uint8 [height, 960, 3]: lines of text, and the panels below them."""
    lines = [part for line in text for part in _wrap(line)]
    top = _MARGIN + _LEAD * len(lines) + (_MARGIN if lines and panels else 0)
    height = top + sum(panel.height for panel in panels) + (_MARGIN if not panels else 0)
    pen = Pen(WIDTH, height)
    for number, line in enumerate(lines):
        pen.text(_MARGIN, _MARGIN + _LEAD * number, line)
    for panel in panels:
        if isinstance(panel, Lines):
            _draw_lines(pen, panel, top)
        else:
            _draw_rows(pen, panel, top)
        top += panel.height
    return pen.image()


def _draw_lines(pen: Pen, panel: Lines, top: int) -> None:
    y, x = _value_scale(panel, top + _TITLE), _step_scale(panel.steps)
    _draw_title(pen, panel.title, top, dict(zip(panel.series, _COLOURS, strict=False)))
    for tick in y.ticks():
        pen.line([(_LEFT, y.place(tick)), (WIDTH - _RIGHT, y.place(tick))], _GRID, 1)
        pen.text(_LEFT - 10, y.place(tick), f"{tick:.3g}", _PALE, "rm")
    if panel.target is not None:
        level = y.place(panel.target)
        pen.line([(_LEFT, level), (WIDTH - _RIGHT, level)], _PALE, 1.5)
        pen.text(WIDTH - _RIGHT, level - 3, f"target {panel.target:g}", _PALE, "rd")
    # the last ones first, and the others over them in dashes and smaller dots: all are visible where they coincide
    series = list(zip(panel.series.values(), _COLOURS, strict=False))
    for number, (values, colour) in reversed(list(enumerate(series, 1))):
        known = [(x.place(step), y.place(value)) for step, value in enumerate(values) if value is not None]
        if number == len(series):
            pen.line(known, colour)
        else:
            pen.dashes(known, colour, _DASH * number, _DASH * len(series))
        for place in known if len(known) <= 60 else known[:1]:
            pen.dot(*place, colour, _DOT + 1.5 * (number - 1))
    _draw_steps(pen, panel.steps, top + _TITLE + _LINE_HEIGHT)


def _draw_rows(pen: Pen, panel: Rows, top: int) -> None:
    x, half = _step_scale(panel.steps), _half_step(panel.steps)
    _draw_title(pen, panel.title, top, dict(zip(panel.legend, (_COLOURS[0], _SKIPPED), strict=True)))
    for number, (name, filled) in enumerate(panel.rows.items()):
        y = top + _TITLE + _ROW * number
        pen.text(_LEFT - 10, y + _ROW / 2, _shorten(name), _PALE, "rm")
        for step in range(panel.steps):
            colour = _COLOURS[0] if step in filled else _SKIPPED
            centre = x.place(step)
            pen.box(centre - half, y + 3, centre + half, y + _ROW - 3, colour)
    _draw_steps(pen, panel.steps, top + _TITLE + _ROW * len(panel.rows))


def _draw_title(pen: Pen, title: str, top: int, legend: dict[str, Colour]) -> None:
    at = _MARGIN + pen.text(_MARGIN, top + 4, title) + 28
    for name, colour in legend.items():
        pen.box(at, top + 6, at + 12, top + 18, colour)
        at += 18 + pen.text(at + 18, top + 4, name, _PALE) + 18


def _draw_steps(pen: Pen, steps: int, y: float) -> None:
    every = max(1, math.ceil(steps / 20))
    for step in range(0, steps, every):
        pen.text(_step_scale(steps).place(step), y + 8, str(step + 1), _PALE, "ma")
    pen.text(_LEFT - 10, y + 8, "step", _PALE, "ra")


def _value_scale(panel: Lines, top: float) -> Scale:
    values = [value for row in panel.series.values() for value in row if value is not None]
    positive = [value for value in values if value > 0]
    bottom = top + _LINE_HEIGHT
    if panel.log and positive and max(positive) / min(positive) >= _LOG_FROM:
        return Scale(min(positive) / 1.5, max(positive) * 1.5, bottom, top, log=True)
    high = _round_up(max(values, default=0.0)) if panel.high is None else panel.high
    return Scale(panel.low, high, bottom, top)


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten: its quarters are short numbers. 1 for values that are not above
    0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value * (1 - 1e-9))


def _step_scale(steps: int) -> Scale:
    half = _half_step(steps)
    return Scale(0, max(1, steps - 1), _LEFT + half + 2, WIDTH - _RIGHT - half - 2)


def _half_step(steps: int) -> float:
    return min(14.0, max(1.0, 0.42 * (WIDTH - _LEFT - _RIGHT) / max(1, steps)))


def _shorten(name: str, most: int = 9) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _wrap(line: str) -> list[str]:
    """Lines of at most as many characters as the image is wide, further ones indented."""
    import textwrap

    indent = len(line) - len(line.lstrip())
    return textwrap.wrap(line, _CHARACTERS, initial_indent=" " * indent, subsequent_indent=" " * (indent + 4)) or [""]
