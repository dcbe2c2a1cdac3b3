"""Calibrated factors between the controller's estimate and the final error, measured on the embedded models by
`python -m tools.bench propagation calibrate`.

A model that was not calibrated gets the largest factor known for its cut, or of all cuts if none is known, times a
safety factor; the manifest records whether it was calibrated.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

_CAUTION = 2.0  # safety factor on the largest known factor, without calibration
_STEPS = 50  # of the calibration runs that a factor is scaled from where there is none with about as many steps


def error_factor(boundary: str, model: str | None, solver: str, steps: int) -> float:
    """The factor from the controller's sum to the final error, with 90 % confidence if calibrated.

    boundary: the name of the cut. With fewer steps than in the calibration each step is longer, and the factor grows
    with the square of that.
    """
    table = _table()
    known = [row for row in table.get(boundary, {}).get(str(model), []) if row["solver"] == solver]
    if known:
        row = min(known, key=lambda row: abs(row["steps"] - steps))
        return float(row["factor"]) * max(1.0, row["steps"] / steps) ** 2
    models = table.get(boundary) or {key: rows for models in table.values() for key, rows in models.items()}
    factors = [row["factor"] / max(1.0, _STEPS / row["steps"]) ** 2 for rows in models.values() for row in rows]
    return float(_CAUTION * max(factors, default=1.0) * max(1.0, _STEPS / steps) ** 2)


def is_calibrated(boundary: str, model: str | None, solver: str, steps: int) -> bool:
    """Whether the factor was measured for this cut, model and solver, with about as many steps."""
    rows = _table().get(boundary, {}).get(str(model), [])
    return any(row["solver"] == solver and abs(steps - row["steps"]) <= row["steps"] // 5 for row in rows)


def calibrated_runs(boundary: str, model: str | None) -> list[tuple[str, int]]:
    """(solver, steps) for which the factor was measured, for this cut and model."""
    return [(row["solver"], row["steps"]) for row in _table().get(boundary, {}).get(str(model), [])]


def why_not_calibrated(boundary: str, model: str | None, solver: str, steps: int) -> str:
    """Why no error can be promised for this cut, model, solver and number of steps; empty if it was calibrated."""
    if is_calibrated(boundary, model, solver, steps):
        return ""
    rows = _table().get(boundary, {}).get(str(model), [])
    found = ", ".join(f"{row['solver']} at {row['steps']} steps" for row in rows) or "none"
    name = "this model" if model is None else repr(model)
    return (
        f"max_error is not calibrated for {solver} at {steps} steps on {name} with boundary {boundary!r} "
        f"(calibrated: {found}), so no error can be promised; use every:N, such as every:2"
    )


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """cut -> model -> its rows, one per solver and number of steps."""
    path = files(__package__) / "calibration.json"
    found: dict[str, dict[str, list[dict[str, Any]]]]
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
