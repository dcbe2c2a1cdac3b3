"""Report of one propagated run, as the manifest and the HTML report show it."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

from .calibration import is_calibrated

if TYPE_CHECKING:
    from .run import PropagationRun


@dataclass(frozen=True)
class Evaluation:
    """One call of a model, fully evaluated (a key step) or propagated, and its duration."""

    step: int
    branch: str
    key: bool
    seconds: float


def summarize(run: PropagationRun) -> dict[str, Any]:
    """The values of `measured.propagation`, by their stored names."""
    calls = run.evaluations
    # a step is a key step if all its branches were evaluated; after a roll-back its last evaluation counts
    last = {step: all(call.key for call in group) for step, group in groupby(calls, key=lambda call: call.step)}
    key_steps = sorted(step for step, key in last.items() if key)
    spent = getattr(run.controller, "spent", None)
    factor = getattr(run.controller, "factor", None)
    error = None if spent is None or factor is None else round(spent * factor, 6)
    return {
        "promised": {k: v for k, v in asdict(run.config).items() if v is not None},
        "boundary": sorted({cut.name for cut in run.cuts}),
        "steps": len(last),
        "evaluated": f"{len(key_steps)} of {len(last)} steps",
        "keys": key_steps,
        "rolled_back": [list(pair) for pair in run.rolled_back],
        "forced": {str(step): why for step, why in sorted(run.forced.items())},
        "drift": {str(step): _rounded(e) for step, e in run.errors.items()},
        "predicted_drift": {str(step): _rounded(run.expected.get(step)) for step in run.errors},
        "estimated_error": error,
        "factor": factor,
        "calibrated": None if factor is None else _calibrated(run),
        "within_promise": None if error is None else error <= (run.config.max_error or 0.0),
        "seconds": _seconds(calls, run.ahead_s),
        "kept_bytes": sum(cut.cached_bytes() for cut in run.cuts)
        + sum(frames.subset.cached_bytes() for frames in run.key_step_frames),
        **_frames(run),
    }


def _calibrated(run: PropagationRun) -> bool:
    schedule = run.schedule
    return all(is_calibrated(cut.name, run.calibrated_as, schedule.solver, schedule.steps or 0) for cut in run.cuts)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _frames(run: PropagationRun) -> dict[str, float]:
    """The fraction of frames that key steps computed, if they do not compute all."""
    counts = [pair for frames in run.key_step_frames for pair in frames.computed]
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


def synchronized_time(latents: torch.Tensor) -> float:
    """The time in seconds, after the device of these latents has finished its work."""
    if latents.is_cuda:
        torch.cuda.synchronize(latents.device)
    return time.perf_counter()
