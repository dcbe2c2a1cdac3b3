"""Why no error can be promised on a model, with the names that ComfyUI gives samplers."""

from __future__ import annotations

from collections.abc import Iterable

from videogen.propagation.calibration import calibrated_runs, is_calibrated
from videogen.schedulers import SAMPLERS, solver_of_sampler

_OUTPUT = "output"  # the cut of a host without taps
_REMEDY = "every:N, such as every:2"


def why_no_promise(model: str | None, solver: str, sampler: str, steps: int, kind: str) -> str:
    """Why `max_error` has no calibration; empty where it has one.

    model: its name in the calibration; solver: of the sampler; kind: of the model's noise levels, one of `KINDS`.
    """
    if is_calibrated(_OUTPUT, model, solver, steps):
        return ""
    found = _describe(calibrated_runs(_OUTPUT, model), kind)
    if not found:
        return f"max_error is not calibrated for this model, so no error can be promised; use {_REMEDY}"
    return f"max_error is not calibrated for the sampler {sampler} at {steps} steps; use {found}, or {_REMEDY}"


def _describe(runs: list[tuple[str, int]], kind: str) -> str:
    """Such as `euler or uni_pc at 20 or 30 steps`; samplers with other numbers of steps follow."""
    steps_of: dict[str, list[int]] = {}
    for solver, steps in runs:
        steps_of.setdefault(_sampler_of(solver, kind), []).append(steps)
    samplers_at: dict[tuple[int, ...], list[str]] = {}
    for name, numbers in steps_of.items():
        samplers_at.setdefault(tuple(sorted(numbers)), []).append(name)
    return ", ".join(f"{_list(names)} at {_list(map(str, at))} steps" for at, names in samplers_at.items())


def _sampler_of(solver: str, kind: str) -> str:
    """The first sampler with this solver."""
    return next((name for name in SAMPLERS if solver_of_sampler(name, kind) == solver), solver)


def _list(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else str(last)
