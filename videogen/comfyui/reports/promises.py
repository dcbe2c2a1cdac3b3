"""Broken promises of a run, in words: a recall below its target, and an error above its bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def describe_missed_recall(report: dict[str, Any]) -> Iterator[str]:
    """A line where a report of sparse attention is below its target."""
    recall, target = report.get("least_recall"), report.get("promised", {}).get("recall")
    if recall is not None and target is not None and recall < target:
        yield f"  the promised recall of {target:g} was missed: a higher target computes more attention"


def describe_missed_error(report: dict[str, Any]) -> Iterator[str]:
    """A line where a report of propagation is above its bound."""
    if report.get("within_promise") is False:
        bound, estimate = report["promised"]["max_error"], report["estimated_error"]
        yield f"  the promised error of {bound:g} was missed: the estimate is {estimate:.3g}; use a smaller max_error"
