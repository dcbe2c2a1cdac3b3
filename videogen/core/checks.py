"""Checks of numbers that a user gives: each returns the value, or says what it must be."""

from __future__ import annotations

from videogen.core.errors import InputError


def at_least(name: str, value: int, low: int) -> int:
    """The value. InputError where it is below `low`."""
    if value < low:
        raise InputError(f"{name}:{value} must be at least {name}:{low}")
    return value
