"""Values that the settings of a continuity policy take. `continuity.Continuity` describes what they do. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from videogen.core.errors import InputError, unknown
from videogen.schedulers.cono.look_back import MEANS
from videogen.schedulers.cono.mean_regularisation import SPACES
from videogen.schedulers.windows import FUSIONS, WEIGHTS

#: numbers from 0 to this
_GREATEST = {"release": 1, "right_release": 1, "mean_regularisation": 1, "refresh": 1, "mean_power": inf}
#: whole numbers of at least this
_LEAST = {"overlap": 1, "fade": 0, "windows": 2, "n2": 1, "handover": 1}
_CHOICES = {"weights": WEIGHTS, "fusion": FUSIONS, "mean_space": SPACES, "mean_of": MEANS}
_NEVER_UNSET = ("mean_regularisation", "refresh")

#: the fields that every manifest and job records, also those of earlier versions; others only where they are set
RECORDED = frozenset(("policy", "overlap", "fade", "release", "mean_regularisation", "noise", "refresh", "windows"))


def check_settings(values: Mapping[str, Any]) -> None:
    """InputError for a value that its setting does not take. None leaves a setting unset."""
    for name, value in values.items():
        if value is None and name not in _NEVER_UNSET:
            continue
        if name in _CHOICES and value not in _CHOICES[name]:
            raise unknown(f"value of the continuity setting {name}", str(value), _CHOICES[name])
        if name in _GREATEST:
            greatest = _GREATEST[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= greatest:
                accepted = "of at least 0" if greatest == inf else f"from 0 to {greatest}"
                raise InputError(f"continuity: {name}={value!r} must be a number {accepted}")
        if name in _LEAST and (type(value) is not int or value < _LEAST[name]):
            raise InputError(f"continuity: {name}={value!r} must be a whole number of at least {_LEAST[name]}")
