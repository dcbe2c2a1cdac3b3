"""Report of one propagated run, as the manifest and the HTML report show it."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .calibration import is_calibrated

if TYPE_CHECKING:
    from .handle import PropagationHandle


@dataclass(frozen=True)
class Evaluation:
    """One call of a model, fully evaluated (a key step) or propagated, and its duration."""

    step: int
    branch: str
    key: bool
    seconds: float


def summarize(handle: PropagationHandle) -> dict[str, Any]:
    """The values of `measured.propagation`, by their stored names."""
    calls = handle.evaluations
    # a step is a key step if all its branches were evaluated; after a roll-back its last evaluation counts
    last = {step: all(call.key for call in group) for step, group in groupby(calls, key=lambda call: call.step)}
    key_steps = sorted(step for step, key in last.items() if key)
    spent = getattr(handle.controller, "spent", None)
    factor = getattr(handle.controller, "factor", None)
    error = None if spent is None or factor is None else round(spent * factor, 6)
    return {
        "promised": {k: v for k, v in asdict(handle.config).items() if v is not None},
        "boundary": sorted({cut.name for cut in handle.cuts}),
        "steps": len(last),
        "evaluated": f"{len(key_steps)} of {len(last)} steps",
        "keys": key_steps,
        "rolled_back": [list(pair) for pair in handle.rolled_back],
        "forced": {str(step): why for step, why in sorted(handle.forced.items())},
        "drift": {str(step): _rounded(e) for step, e in handle.errors.items()},
        "predicted_drift": {str(step): _rounded(handle.expected.get(step)) for step in handle.errors},
        "estimated_error": error,
        "factor": factor,
        "calibrated": None if factor is None else _calibrated(handle),
        "within_promise": None if error is None else error <= (handle.config.max_error or 0.0),
        "seconds": _seconds(calls, handle.ahead_s),
        "kept_bytes": sum(cut.cached_bytes() for cut in handle.cuts)
        + sum(frames.subset.cached_bytes() for frames in handle.key_step_frames),
        **_frames(handle),
    }


def _calibrated(handle: PropagationHandle) -> bool:
    schedule = handle.schedule
    return all(
        is_calibrated(cut.name, handle.calibrated_as, schedule.solver, schedule.steps or 0) for cut in handle.cuts
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _frames(handle: PropagationHandle) -> dict[str, float]:
    """The fraction of frames that key steps computed, if they do not compute all."""
    counts = [pair for frames in handle.key_step_frames for pair in frames.computed]
    if not counts:
        return {}
    return {"frames_computed": round(sum(done for done, _ in counts) / sum(total for _, total in counts), 4)}


def _seconds(calls: list[Evaluation], ahead_s: float) -> dict[str, float]:
    """Seconds in key steps and in propagated ones, and those saved against a run of key steps only (by the median)."""
    full = [call.seconds for call in calls if call.key]
    rest = [call.seconds for call in calls if not call.key]
    typical = statistics.median(full) if full else 0.0
    between = sum(rest) + ahead_s
    saved = typical * len(rest) - between
    return {"key": round(sum(full), 4), "propagated": round(between, 4), "saved": round(saved, 4)}
