"""Targets and results of techniques over all segments of a long video, where a single clip's manifest has them too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from videogen.request.resolved import ResolvedRequest


def summarize_techniques(request: ResolvedRequest, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`measured.attention` and `measured.propagation` of a long video: the target, the worst result of any segment, and
    means or sums over all.

    rows: the segments in the manifest, with the results of their techniques.
    """
    found = {}
    for name, summary in (("attention", _attention), ("propagation", _propagation)):
        reports = [row for row in rows if name in row]
        if reports and getattr(request, name) is not None:
            found[name] = {**summary(request, reports), "segments": len(reports)}
    return found


def _attention(request: ResolvedRequest, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    assert request.attention is not None
    weights = [row["latents"] for row in rows]
    density = sum(row["attention"]["mean_density"] * weight for row, weight in zip(rows, weights, strict=True))
    return {
        "promised": request.attention.target,
        "least_recall": _extreme(min, (row["attention"]["least_recall"] for row in rows)),
        "mean_density": round(density / sum(weights), 4),
    }


def _propagation(request: ResolvedRequest, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    settings = asdict(request.propagation)  # type: ignore[arg-type]
    promised = {name: value for name, value in settings.items() if value is not None}
    keys = [row["propagation"]["keys"] for row in rows if "keys" in row["propagation"]]
    if not keys:  # a cache of diffusers
        return {"promised": promised}
    steps, evaluated = request.steps * len(keys), sum(map(len, keys))
    error = _extreme(max, (row["propagation"].get("estimated_error") for row in rows))
    limit = promised.get("max_error")
    return {
        "promised": promised,
        "steps": steps,
        "evaluated": f"{evaluated} of {steps} steps",
        "estimated_error": error,
        "within_promise": None if error is None or limit is None else error <= limit,
    }


def _extreme(choose: Any, values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None
