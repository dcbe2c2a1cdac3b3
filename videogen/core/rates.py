"""Frame rates as exact numbers."""

from __future__ import annotations

from fractions import Fraction

from .errors import InputError


def exact_fps(fps: Fraction | float) -> Fraction:
    """The rate as an exact fraction, as it is written to video files; InputError where it is not a rate above 0."""
    try:
        rate = Fraction(fps).limit_denominator(1001)
    except (ValueError, OverflowError, TypeError):
        rate = Fraction(0)
    if rate <= 0:
        raise InputError(f"fps={fps} must be a finite number above 0")
    return rate
