"""State of a run as data: copies for snapshots, which later steps do not touch.

Cached features are never written into, only replaced, so that a copy shares its tensors with the run: a snapshot costs
no memory of its own while the features in it are still cached.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

Value = TypeVar("Value")


def copy_state(value: Value) -> Value:
    """A copy of the containers and the mutable dataclasses in a value; what cannot change, and tensors, are shared."""
    found: Any = value
    if isinstance(found, dict):
        found = {key: copy_state(inner) for key, inner in found.items()}
    elif isinstance(found, list):
        found = [copy_state(inner) for inner in found]
    elif is_dataclass(found) and not isinstance(found, type) and not _is_frozen(found):
        original, found = found, copy.copy(found)
        for field in fields(original):
            setattr(found, field.name, copy_state(getattr(original, field.name)))
    elif isinstance(found, set):
        found = set(found)
    return found  # type: ignore[no-any-return]


def read_state(owner: object, names: Iterable[str]) -> dict[str, Any]:
    """Copies of these attributes."""
    return {name: copy_state(getattr(owner, name)) for name in names}


def write_state(owner: object, state: dict[str, Any]) -> None:
    """Put back what `read_state` read; it may be put back again."""
    for name, value in state.items():
        setattr(owner, name, copy_state(value))


def _is_frozen(value: Any) -> bool:
    return bool(type(value).__dataclass_params__.frozen)
