"""Plots of a run's reports: attention and recall by step and branch, key steps, and the error at each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from videogen.media.plots import Lines, Rows, draw_panels

from ..native import propagation, sparse_attention
from .reports import describe_reports

Panel = Lines | Rows
_FLOOR = 0.02  # of the axis, below the least recall


def plot_reports(reports: dict[str, Any]) -> np.ndarray:
    """An image uint8 [height, width, 3]: the description of `reports`, and a panel for what was measured by step."""
    measured = [(key, report) for key, report in reports.items() if "declined" not in report]
    steps = max((int(report.get("steps", 0)) for report in reports.values()), default=0)
    panels = [panel for key, report in measured if key in _PANELS for panel in _PANELS[key](report, steps)]
    return draw_panels(describe_reports(reports), panels)


def _plot_attention(report: dict[str, Any], steps: int) -> Iterator[Panel]:
    branches = report["branches"]
    if not branches:
        return
    density = {name: [_percent(value) for value in row["density"]] for name, row in branches.items()}
    yield Lines("Attention computed, %", density, steps, high=100.0)
    recalls = {name: row["recall"] for name, row in branches.items()}
    known = [value for row in recalls.values() for value in row if value is not None]
    if known:
        target = report["promised"].get("recall")
        lowest = min(known if target is None else [*known, target])
        low = max(0.0, 1 - 0.2 * math.ceil((1 - lowest + _FLOOR) / 0.2))
        yield Lines("Least recall of a head", recalls, steps, low, 1.0, target)


def _plot_propagation(report: dict[str, Any], steps: int) -> Iterator[Panel]:
    yield Rows("Steps", report["branches"], steps, ("model called", "continued from key steps"))
    errors = {int(step): error for step, error in report["drift"].items() if error is not None}
    if errors:
        series = {"relative to the clean latents": [errors.get(step) for step in range(steps)]}
        yield Lines("Error of a continued step, measured at key steps", series, steps, log=True)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


_PANELS: dict[str, Callable[[dict[str, Any], int], Iterator[Panel]]] = {
    sparse_attention.KEY: _plot_attention,
    propagation.KEY: _plot_propagation,
}
