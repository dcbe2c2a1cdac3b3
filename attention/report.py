"""Report of a run for its manifest: tables by attention layer and step, from the records of all calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from .attention_layer import CallRecord
from .config import SparseAttention


def summarize(config: SparseAttention, records: Iterable[CallRecord], untouched: Mapping[str, str]) -> dict[str, Any]:
    """`layers` x `steps` tables; guidance branches and calls of one cell are joined (mean density, smallest recall).

    promised: recall or sparsity. density, recall, bound, exact: lists [layer][step], None where nothing was measured.
    rows_below_half: the fraction of audited query rows that retains under half of its mass, the largest of any head,
    layer and step; the recall is a mean over rows.
    searches: [layer][step] counts. dense: reason -> calls. untouched: layer -> reason, for layers that are not
    self-attention of the video.
    """
    records = list(records)
    layers = list(dict.fromkeys(record.layer for record in records))
    steps = 1 + max((record.step for record in records), default=-1)
    cells: dict[tuple[str, int], list[CallRecord]] = {}
    reasons: dict[str, int] = {}
    for record in records:
        cells.setdefault((record.layer, record.step), []).append(record)
        if record.why:
            reasons[record.why] = reasons.get(record.why, 0) + 1

    def table(pick: Any) -> list[list[Any]]:
        rows = ([cells.get((layer, step)) for step in range(steps)] for layer in layers)
        return [[None if cell is None else pick(cell) for cell in row] for row in rows]

    calls = [record for record in records if record.why is None]
    return {
        "config": asdict(config),
        "promised": config.target,
        "layers": layers,
        "steps": steps,
        "tokens": max((record.tokens for record in records), default=0),
        "density": table(lambda cell: round(sum(r.density for r in cell) / len(cell), 4)),
        "recall": table(lambda cell: _least(r.recall for r in cell)),
        "bound": table(lambda cell: _least(r.bound for r in cell)),
        "exact": table(lambda cell: _least(r.exact for r in cell)),
        "searches": table(lambda cell: sum(r.searched for r in cell)),
        "mean_density": _mean_density(records),
        "least_recall": _least(r.exact if r.exact is not None else r.recall for r in calls),
        "rows_below_half": _most(r.rows_below_half for r in calls),
        "dense": reasons,
        "untouched": dict(untouched),
    }


def _mean_density(records: Iterable[CallRecord]) -> float:
    """The fraction of all self-attention scores that was computed."""
    scores = [(record.density, record.tokens**2) for record in records]
    return round(sum(d * n for d, n in scores) / sum(n for _, n in scores), 4) if scores else 1.0


def _least(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(min(known), 5) if known else None


def _most(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(max(known), 5) if known else None
