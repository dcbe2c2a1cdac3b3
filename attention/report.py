"""From the records of a run to what stands in its manifest: small tables by site and step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from .config import SparseAttention
from .site import Record


def summarise(config: SparseAttention, records: Iterable[Record], untouched: Mapping[str, str]) -> dict[str, Any]:
    """`sites` x `steps` tables; guidance branches and calls of one cell are joined (mean density, smallest recall).

    promised: recall or sparsity. density, recall, bound, exact: lists [site][step], None where nothing was measured.
    searches: [site][step] counts. dense: reason -> calls. untouched: site -> reason, for sites that are no
    self-attention of the video's.
    """
    records = list(records)
    sites = list(dict.fromkeys(record.site for record in records))
    steps = 1 + max((record.step for record in records), default=-1)
    cells: dict[tuple[str, int], list[Record]] = {}
    reasons: dict[str, int] = {}
    for record in records:
        cells.setdefault((record.site, record.step), []).append(record)
        if record.why:
            reasons[record.why] = reasons.get(record.why, 0) + 1

    def table(pick: Any) -> list[list[Any]]:
        return [[pick(cells[site, step]) if (site, step) in cells else None for step in range(steps)] for site in sites]

    calls = [record for record in records if record.why is None]
    return {
        "config": asdict(config),
        "promised": {"recall": config.recall} if config.recall is not None else {"sparsity": config.sparsity},
        "sites": sites,
        "steps": steps,
        "tokens": max((record.tokens for record in records), default=0),
        "density": table(lambda cell: round(sum(r.density for r in cell) / len(cell), 4)),
        "recall": table(lambda cell: _least(r.recall for r in cell)),
        "bound": table(lambda cell: _least(r.bound for r in cell)),
        "exact": table(lambda cell: _least(r.exact for r in cell)),
        "searches": table(lambda cell: sum(r.searched for r in cell)),
        "mean_density": _mean_density(records),
        "least_recall": _least(r.exact if r.exact is not None else r.recall for r in calls),
        "dense": reasons,
        "untouched": dict(untouched),
    }


def _mean_density(records: Iterable[Record]) -> float:
    """The share of all self-attention scores that was computed."""
    scores = [(record.density, record.tokens**2) for record in records]
    return round(sum(d * n for d, n in scores) / sum(n for _, n in scores), 4) if scores else 1.0


def _least(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(min(known), 5) if known else None
