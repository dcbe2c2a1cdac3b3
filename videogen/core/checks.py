"""Range checks of numbers that a user gives: each returns the value or raises an InputError that gives the range."""

from __future__ import annotations

import operator

from videogen.core.errors import InputError


def at_least(name: str, value: int, low: int) -> int:
    """The value. InputError where it is below `low`."""
    if value < low:
        raise InputError(f"{name}={value} must be at least {low}")
    return value


def in_range(name: str, value: float, low: float, high: float) -> float:
    """The value. InputError where it is below `low`, above `high`, or NaN."""
    if not low <= value <= high:
        raise InputError(f"{name}={value} must be between {low} and {high}")
    return value


def check_count(name: str, value: object, low: int) -> None:
    """InputError where a value is not a whole number of at least `low`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < low:
        raise InputError(f"{name}={value!r} must be a whole number of at least {low}")
