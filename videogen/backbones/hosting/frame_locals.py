"""Local variables of a suspended function: reading them, and setting them from outside."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any


def read_locals(frame: FrameType, names: Iterable[str]) -> dict[str, Any]:
    """The values of those of the names that the function has assigned."""
    values = frame.f_locals
    return {name: values[name] for name in names if name in values}


def set_locals(frame: FrameType, values: Mapping[str, Any]) -> None:
    """Set variables that the function has assigned; it reads the new values when it runs on (PEP 667)."""
    found = frame.f_locals
    for name, value in values.items():
        found[name] = value
    if sys.version_info < (3, 13):  # before, f_locals is a copy that has to be written back
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
