"""One report of the clips of a long video: their steps are counted through all clips, one clip after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..native import kernel_guard, propagation, sparse_attention

Report = dict[str, Any]
_TABLES = ("density", "recall", "bound", "exact", "searches")  # [layer][step]


def merge_clips(key: str, clips: list[Report]) -> Report:
    """The report of a technique on all clips, in order, in the form of one clip's. key: of the technique."""
    declined = [clip["declined"] for clip in clips if "declined" in clip]
    if declined:
        return {"declined": declined[0]}
    merge = _MERGERS.get(key)
    return clips[-1] if merge is None else {**merge(clips), "clips": len(clips)}


def _merge_attention(clips: list[Report]) -> Report:
    layers = list(dict.fromkeys(layer for clip in clips for layer in clip["layers"]))
    dense: dict[str, int] = {}
    for clip in clips:
        for reason, calls in clip["dense"].items():
            dense[reason] = dense.get(reason, 0) + calls
    return {
        **clips[-1],
        "layers": layers,
        "steps": sum(clip["steps"] for clip in clips),
        **{name: [_join_rows(clips, layer, name) for layer in layers] for name in _TABLES},
        "mean_density": round(sum(clip["mean_density"] for clip in clips) / len(clips), 4),
        "least_recall": min((clip["least_recall"] for clip in clips if clip["least_recall"] is not None), default=None),
        "rows_below_half": max(
            (clip["rows_below_half"] for clip in clips if clip["rows_below_half"] is not None), default=None
        ),
        "dense": dense,
        "branches": {
            branch: {name: _join_steps(clips, branch, name) for name in ("density", "recall")}
            for branch in dict.fromkeys(branch for clip in clips for branch in clip["branches"])
        },
    }


def _join_rows(clips: list[Report], layer: str, table: str) -> list[Any]:
    """A layer's row of a table through all clips; None where a clip does not have the layer."""
    rows = (
        clip[table][clip["layers"].index(layer)] if layer in clip["layers"] else [None] * clip["steps"]
        for clip in clips
    )  # fmt: skip
    return [value for row in rows for value in row]


def _join_steps(clips: list[Report], branch: str, name: str) -> list[Any]:
    rows = (clip["branches"].get(branch, {}).get(name, [None] * clip["steps"]) for clip in clips)
    return [value for row in rows for value in row]


def _merge_propagation(clips: list[Report]) -> Report:
    begins = [sum(clip["steps"] for clip in clips[:number]) for number in range(len(clips))]
    steps = sum(clip["steps"] for clip in clips)
    keys = [begin + step for begin, clip in zip(begins, clips, strict=True) for step in clip["keys"]]
    by_step = {
        name: {str(begin + int(step)): value for begin, clip in zip(begins, clips, strict=True)
               for step, value in clip[name].items()}
        for name in ("forced", "drift", "predicted_drift")
    }  # fmt: skip
    branches: dict[str, list[int]] = {}
    for begin, clip in zip(begins, clips, strict=True):
        for branch, found in clip["branches"].items():
            branches.setdefault(branch, []).extend(begin + step for step in found)
    errors = [clip["estimated_error"] for clip in clips if clip["estimated_error"] is not None]
    promises = [clip["within_promise"] for clip in clips if clip["within_promise"] is not None]
    return {
        **clips[-1],
        **by_step,
        "steps": steps,
        "evaluated": f"{len(keys)} of {steps} steps",
        "keys": keys,
        "rolled_back": [
            [begin + step for step in pair]
            for begin, clip in zip(begins, clips, strict=True)
            for pair in clip["rolled_back"]
        ],
        "estimated_error": max(errors, default=None),
        "within_promise": all(promises) if promises else None,
        "branches": branches,
        "seconds": {name: _sum_seconds(clips, name) for name in clips[-1]["seconds"]},
    }


def _sum_seconds(clips: list[Report], name: str) -> float | None:
    """Seconds saved by all clips; of a call, those of the last clip."""
    known = [clip["seconds"][name] for clip in clips if clip["seconds"][name] is not None]
    if not known:
        return None
    return round(sum(known), 4) if name == "saved" else float(known[-1])


def _merge_checks(clips: list[Report]) -> Report:
    """Of each kernel, the largest error and the first fault."""
    kernels: dict[str, Report] = {}
    for check in (check for clip in clips for check in clip["kernels"]):
        known = kernels.setdefault(check["kernel"], {**check, "calls": 0})
        worst = max(known, check, key=lambda one: one["error"])
        known.update(
            calls=known["calls"] + check["calls"],
            error=worst["error"],
            shape=worst["shape"],
            fault=known["fault"] or check["fault"],
            is_imprecise=known["is_imprecise"] or check["is_imprecise"],
        )
    inputs = next((clip["inputs"] for clip in clips if clip["inputs"]), "")
    return {"kernels": list(kernels.values()), "inputs": inputs}


_MERGERS: dict[str, Callable[[list[Report]], Report]] = {
    sparse_attention.KEY: _merge_attention,
    propagation.KEY: _merge_propagation,
    kernel_guard.KEY: _merge_checks,
}
