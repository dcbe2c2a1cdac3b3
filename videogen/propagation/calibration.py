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
_STEPS = 50  # of the calibration runs


def error_factor(boundary: str, model: str | None, solver: str, steps: int) -> float:
    """The factor from the controller's sum to the final error, with 90 % confidence if calibrated.

    boundary: the name of the cut. With fewer steps than in the calibration each step is longer, and the factor grows
    with the square of that.
    """
    table = _table()
    rows = table.get(boundary) or {key: row for models in table.values() for key, row in models.items()}
    known = is_calibrated(boundary, model, solver, _STEPS)
    factor = (
        rows[str(model)]["factor"] if known else _CAUTION * max((row["factor"] for row in rows.values()), default=1.0)
    )
    return factor * max(1.0, _STEPS / steps) ** 2


def is_calibrated(boundary: str, model: str | None, solver: str, steps: int) -> bool:
    """Whether the factor was measured for this cut, model and solver, with about as many steps."""
    row = _table().get(boundary, {}).get(str(model))
    return row is not None and row["solver"] == solver and abs(steps - _STEPS) <= _STEPS // 5


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    path = files(__package__) / "calibration.json"
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
