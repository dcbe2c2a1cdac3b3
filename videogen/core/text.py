"""Numbers as text."""

from __future__ import annotations


def shortest(value: float) -> str:
    """The shortest text that reads back as the same number: `9`, `0.08`."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
