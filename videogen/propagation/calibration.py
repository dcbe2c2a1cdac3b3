"""How the final error relates to the controller's sum, measured on the embedded models by
`python -m tools.bench propagation calibrate`.

A model that was not calibrated takes the largest factor that is known for its boundary, and of all boundaries where
there is none; the manifest says so.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

_CAUTION = 2.0  # for what was not calibrated, over the largest factor that was
_STEPS = 50  # of the calibration's runs


def factor_of(boundary: str, model: str | None, solver: str, steps: int) -> float:
    """What the controller's sum is multiplied by to stand for the final error, with 90 % confidence where calibrated.

    Fewer steps than calibrated for: each goes further, and the factor grows as fast.
    """
    table = _table()
    rows = table.get(boundary) or {key: row for models in table.values() for key, row in models.items()}
    known = is_calibrated(boundary, model, solver, _STEPS)
    factor = (
        rows[str(model)]["factor"] if known else _CAUTION * max((row["factor"] for row in rows.values()), default=1.0)
    )
    return factor * max(1.0, _STEPS / steps) ** 2


def is_calibrated(boundary: str, model: str | None, solver: str, steps: int) -> bool:
    """Whether the factor was measured for this: the solver too, and about as many steps."""
    row = _table().get(boundary, {}).get(str(model))
    return row is not None and row["solver"] == solver and abs(steps - _STEPS) <= _STEPS // 5


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    path = files(__package__) / "calibration.json"
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
