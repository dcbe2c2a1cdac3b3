"""How the final error relates to the controller's sum, measured on the embedded models by tools/bench_propagation.py calibrate.

A model that was not calibrated takes the largest factor that is known for its boundary, and of all boundaries where
there is none; the manifest says so.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

_UNKNOWN = 2.0


def factor_of(boundary: str, model: str | None) -> float:
    """What the controller's sum is multiplied by to stand for the final error, with 90 % confidence where calibrated."""
    table = _table()
    rows = table.get(boundary) or {key: row for models in table.values() for key, row in models.items()}
    if model in rows and is_calibrated(boundary, model):
        return rows[model]["factor"]
    return max((row["factor"] for row in rows.values()), default=_UNKNOWN)


def is_calibrated(boundary: str, model: str | None) -> bool:
    return model in _table().get(boundary, {})


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, dict[str, float]]]:
    path = files(__package__) / "calibration.json"
    found: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
