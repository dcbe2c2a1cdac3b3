"""Presets: named sets of render settings, one TOML file each in `presets/`. Installed as `videogen.configs`."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from videogen.core.errors import unknown
from videogen.core.tables import parse_toml

_SUFFIX = ".toml"


def presets() -> list[str]:
    """The names of all presets, sorted."""
    folder = files(__package__) / "presets"
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in folder.iterdir() if entry.name.endswith(_SUFFIX))


def load_preset(name: str) -> dict[str, Any]:
    """A preset's settings, with the keys of `RenderRequest`. InputError that names the nearest preset for an unknown
    one."""
    if name not in presets():
        raise unknown("preset", name, presets())
    return parse_toml(
        (files(__package__) / "presets" / f"{name}{_SUFFIX}").read_text(encoding="utf-8"), f"preset {name!r}"
    )
