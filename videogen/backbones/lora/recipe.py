"""LoRA recipe: the settings that a LoRA was trained for, such as few steps without guidance, or warped noise.

They come from `NAME.toml` next to the file, else from the file's metadata (`videogen.steps` and so on), else from a
table of published LoRAs by file name (`recipes.toml`). No torch here.
"""

from __future__ import annotations

import math
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
#: settings that are numbers above 0 -> whether they are integers
_NUMBERS = {"steps": True, "guidance_scale": False, "shift": False}
_MOST_STEPS = 1000  # noise levels that models are trained with


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
    for key, integer in _NUMBERS.items():
        if key in values:
            found[key] = _read_number(key, values[key], where, integer=integer)
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


def _read_number(key: str, value: Any, where: str, *, integer: bool) -> int | float:
    """A number, also as text. InputError for one that no render can have."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not (0 < number < math.inf):
        raise InputError(f"{where}: {key}={value!r} is not a number above 0; correct it, or take it out")
    if integer and (number != int(number) or number > _MOST_STEPS):
        raise InputError(f"{where}: {key}={value!r} is not an integer up to {_MOST_STEPS}; correct it, or take it out")
    return int(number) if integer else number
