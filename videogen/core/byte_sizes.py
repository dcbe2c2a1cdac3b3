"""Sizes in bytes as users write and read them: `12GB` (decimal units), `900MiB` (binary units)."""

from __future__ import annotations

import math
import re

from .errors import InputError

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
_FACTORS = {
    "": 1, "b": 1, "bytes": 1,
    **{letter: 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)\s*")


def parse_bytes(size: str | int, name: str) -> int:
    """Number of bytes of `12GB`, `11.5GiB`, `900MB` or a plain number. name: of the setting, for the error.

    InputError for another form, and for less than one byte.
    """
    match = _SIZE.fullmatch(str(size))
    factor = None if match is None else _FACTORS.get(match[2].lower())
    if match is None or factor is None:
        raise InputError(f"{name}={size!r} is not a size in bytes; write it as 12GB, 11.5GiB or 900MB")
    count = math.floor(float(match[1]) * factor)
    if count < 1:
        raise InputError(f"{name}={size!r} must be above 0")
    return count


def format_bytes(count: int) -> str:
    """`1.5 TB`."""
    value, unit = float(count), _UNITS[0]
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.3g} {unit}"
