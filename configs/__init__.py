"""Presets: named sets of render settings, as TOML files beside this one. Installed as `videogen.configs`."""

from __future__ import annotations

import sys
from importlib.resources import files
from typing import Any

from videogen.core.errors import unknown

_SUFFIX = ".toml"


def presets() -> list[str]:
    """The names of all presets, sorted."""
    folder = files(__package__) / "presets"
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in folder.iterdir() if entry.name.endswith(_SUFFIX))


def load_preset(name: str) -> dict[str, Any]:
    """A preset's settings, keys as in `RenderRequest`; InputError, with the nearest name, for one that is not there."""
    if name not in presets():
        raise unknown("preset", name, presets())
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads((files(__package__) / "presets" / f"{name}{_SUFFIX}").read_text(encoding="utf-8"))
