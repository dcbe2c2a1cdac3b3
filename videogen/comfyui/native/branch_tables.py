"""Tables of a run by guidance branch and step, for reports: attention that was computed, steps that were evaluated."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_WINDOW = re.compile(r"@.*| from \d+$")


def tabulate_attention(records: Iterable[Any], steps: int) -> dict[str, dict[str, list[float | None]]]:
    """Branch -> `density` (mean) and `recall` (the least, as exactly as it is known) by step; None without a call.

    records: of `AttentionRun`. Windows of a clip are joined.
    """
    cells: dict[str, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        cells[without_window(record.branch)][record.step].append(record)

    def row(found: dict[int, list[Any]], pick: Any) -> list[float | None]:
        return [pick(found[step]) if step in found else None for step in range(steps)]

    return {
        branch: {"density": row(found, _mean_density), "recall": row(found, _least_recall)}
        for branch, found in cells.items()
    }


def tabulate_evaluations(evaluations: Iterable[Any]) -> dict[str, list[int]]:
    """Branch -> steps in which the model was called for it, in order. evaluations: of `PropagationRun`. Windows of a
    clip are joined: a step counts where one of them was evaluated."""
    found: dict[str, set[int]] = {}
    for one in evaluations:
        steps = found.setdefault(without_window(one.branch), set())
        if one.key:
            steps.add(one.step)
    return {branch: sorted(steps) for branch, steps in found.items()}


def without_window(branch: str) -> str:
    """The name of a branch without the context window."""
    return _WINDOW.sub("", branch)


@dataclass
class CallTimes:
    """Seconds of a denoiser's calls, those that were evaluated and those that were not."""

    evaluated: list[float] = field(default_factory=list)
    skipped: list[float] = field(default_factory=list)

    def add(self, seconds: float, *, evaluated: bool) -> None:
        (self.evaluated if evaluated else self.skipped).append(seconds)

    def summarize(self) -> dict[str, float | None]:
        """evaluated, skipped: of a call, the median, as the first ones may compile or load; saved: by all calls that
        were skipped, None where nothing was compared."""
        call, skip = (statistics.median(times) if times else None for times in (self.evaluated, self.skipped))
        saved = None if call is None or skip is None else call * len(self.skipped) - sum(self.skipped)
        rounded = (None if value is None else round(value, 4) for value in (call, skip, saved))
        return dict(zip(("evaluated", "skipped", "saved"), rounded, strict=True))


def _mean_density(records: list[Any]) -> float:
    return round(float(statistics.fmean(record.density for record in records)), 4)


def _least_recall(records: list[Any]) -> float | None:
    known = [record.recall if record.exact is None else record.exact for record in records]
    measured = [recall for recall in known if recall is not None]
    return round(min(measured), 5) if measured else None
