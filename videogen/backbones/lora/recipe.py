"""LoRA recipe: the settings that a LoRA was trained for, such as few steps without guidance, or warped noise.

They come from `NAME.toml` next to the file, else from the file's metadata (`videogen.steps` and so on), else from a
table of published LoRAs by file name (`recipes.toml`). No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError
from videogen.core.tables import check_keys, parse_toml, read_text
from videogen.motion.control import MotionControl
from videogen.schedulers.solvers import check_solver

from .lora_file import TensorFile

_TABLE = Path(__file__).with_name("recipes.toml")
_PREFIX = "videogen."
_NUMBERS: dict[str, type[int] | type[float]] = {"steps": int, "guidance_scale": float, "shift": float}


@dataclass(frozen=True)
class Recipe:
    """Settings for the fields that a request leaves unset; None: as without the LoRA. name: of the LoRA or its kind;
    motion: a spec of `MotionControl`, where it was trained to follow a motion."""

    name: str
    steps: int | None = None
    guidance_scale: float | None = None
    shift: float | None = None
    solver: str | None = None
    motion: str | None = None

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings of the sampler that it states."""
        return {name: value for name in SAMPLING if (value := getattr(self, name)) is not None}

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


#: fields of a request that a recipe fills in
SAMPLING = ("steps", "guidance_scale", "shift", "solver")
_KEYS = tuple(field.name for field in fields(Recipe))


def read_recipe(file: TensorFile) -> Recipe | None:
    """What a LoRA was trained for; None where that is not stated. InputError for a statement that is not valid."""
    note = file.path.with_suffix(".toml")
    if note.is_file():
        return _build(parse_toml(read_text(note), str(note)), file.path.name, str(note))
    stated = {name.removeprefix(_PREFIX): text for name, text in file.metadata.items() if name.startswith(_PREFIX)}
    stated = {name: text for name, text in stated.items() if name in _KEYS}
    if stated:
        return _build(stated, file.path.name, f"metadata of {file.path}")
    name = f"{file.path.parent.name}/{file.path.name}".lower()
    return next((recipe for pattern, recipe in known_recipes() if pattern.search(name)), None)


@lru_cache(maxsize=1)
def known_recipes() -> tuple[tuple[re.Pattern[str], Recipe], ...]:
    """(pattern of the file's name, recipe) of published LoRAs."""
    rows = parse_toml(read_text(_TABLE), _TABLE.name)["recipe"]
    return tuple(
        (re.compile(row["files"]), _build({key: row[key] for key in row if key != "files"}, "", _TABLE.name))
        for row in rows
    )


def _build(values: Mapping[str, Any], name: str, where: str) -> Recipe:
    """A recipe from a table, or from texts. InputError, with the place, for unknown keys and values that are not
    valid."""
    check_keys(values, _KEYS, where)
    found: dict[str, Any] = {"name": str(values.get("name", name))}
    for key, kind in _NUMBERS.items():
        if key in values:
            found[key] = _number(key, values[key], kind, where)
    for key in ("solver", "motion"):
        if key in values:
            found[key] = str(values[key])
    try:
        check_solver(found.get("solver"))
        if "motion" in found:
            MotionControl.parse(found["motion"])
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return Recipe(**found)


def _number(key: str, value: Any, kind: type[int] | type[float], where: str) -> int | float:
    try:
        number = kind(value)
    except (TypeError, ValueError):
        number = kind(0)
    if isinstance(value, bool) or not number > 0:
        raise InputError(f"{where}: {key}={value!r} is not a number above 0")
    return number
