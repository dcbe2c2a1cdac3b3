"""What propagation did in one run, as the manifest and the report show it."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .calibration import is_calibrated

if TYPE_CHECKING:
    from .attaching import Handle


@dataclass(frozen=True)
class Evaluated:
    """One call of a model: whole (a key) or propagated, and how long it took."""

    step: int
    branch: str
    key: bool
    seconds: float


def summarise(handle: Handle) -> dict[str, Any]:
    calls = handle.evaluated
    # a step is a key where all its branches were; one that was taken back counts as it was in the end
    last = {step: all(call.key for call in group) for step, group in groupby(calls, key=lambda call: call.step)}
    keys = sorted(step for step, key in last.items() if key)
    spent = getattr(handle.controller, "spent", None)
    factor = getattr(handle.controller, "factor", None)
    error = None if spent is None or factor is None else round(spent * factor, 6)
    return {
        "promised": {k: v for k, v in asdict(handle.config).items() if v is not None},
        "boundary": sorted({boundary.name for boundary in handle.boundaries}),
        "steps": len(last),
        "evaluated": f"{len(keys)} of {len(last)} steps",
        "keys": keys,
        "rolled_back": [list(pair) for pair in handle.rolled_back],
        "forced": {str(step): why for step, why in sorted(handle.forced.items())},
        "drift": {str(step): _rounded(e) for step, e in handle.errors.items()},
        "predicted_drift": {str(step): _rounded(handle.expected.get(step)) for step in handle.errors},
        "estimated_error": error,
        "factor": factor,
        "calibrated": None if factor is None else _calibrated(handle),
        "within_promise": None if error is None else error <= (handle.config.max_error or 0.0),
        "seconds": _seconds(calls, handle.ahead_s),
        "kept_bytes": sum(b.kept_bytes() for b in handle.boundaries)
        + sum(k.lattice.kept_bytes() for k in handle.key_frames),
        **_frames(handle),
    }


def _calibrated(handle: Handle) -> bool:
    schedule = handle.schedule
    return all(
        is_calibrated(b.name, handle.calibrated_as, schedule.solver, schedule.steps or 0) for b in handle.boundaries
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _frames(handle: Handle) -> dict[str, float]:
    """The share of frames that key steps computed, where they do not compute all."""
    counts = [pair for frames in handle.key_frames for pair in frames.computed]
    if not counts:
        return {}
    return {"frames_computed": round(sum(done for done, _ in counts) / sum(total for _, total in counts), 4)}


def _seconds(calls: list[Evaluated], ahead_s: float) -> dict[str, float]:
    """key, propagated: spent in each; saved: against every step a key, by the median key call."""
    whole = [call.seconds for call in calls if call.key]
    rest = [call.seconds for call in calls if not call.key]
    typical = statistics.median(whole) if whole else 0.0
    between = sum(rest) + ahead_s
    saved = typical * len(rest) - between
    return {"key": round(sum(whole), 4), "propagated": round(between, 4), "saved": round(saved, 4)}
