"""A motion as plain data: a list of layers, each a dict as in a TOML plan, for requests, manifests and files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from videogen.core.errors import InputError

from .camera import Camera
from .drag import CutDrag, Drag
from .sources import Flow, Tracks, Transfer
from .spec import Compose, Motion, parts_of
from .text import layer_of, load_plan

_KIND = {Camera: "camera", Drag: "drag", CutDrag: "cut_drag", Transfer: "transfer", Tracks: "tracks", Flow: "flow"}
_ARRAY = "array "  # how a value begins that was an array and is not in the description


def to_layers(motion: Motion) -> list[dict[str, Any]]:
    """The motion's layers, lowest first, as `from_layers` reads them: file names absolute, defaults left out.

    Arrays (masks, sprites, clips, flow) are named by shape and hash only: such a description can be compared, not read again.
    """
    return [_described(part) for part in parts_of(motion)]


def from_layers(layers: object, folder: str | os.PathLike[str] = ".", told: str = "motion") -> Motion:
    """The motion that a list of layers describes; file names are relative to `folder`. InputError names the layer."""
    if isinstance(layers, Mapping):
        layers = [layers]
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not layers:
        raise InputError(f"{told}={layers!r} must be a list of layers, such as [{{kind = 'camera', pan = 8}}]")
    made = tuple(layer_of(_checked(layer, told), Path(folder), f"{told}, layer {i}") for i, layer in enumerate(layers, 1))
    return made[0] if len(made) == 1 else Compose(made)


def as_motion(motion: object) -> Motion:
    """A motion from whatever a user gives: a `Motion`, layers, or a TOML plan's path."""
    if isinstance(motion, Motion):
        return motion
    if isinstance(motion, str | os.PathLike):
        return load_plan(motion)
    return from_layers(motion)


def _checked(layer: Any, told: str) -> Any:
    """InputError for a layer whose arrays are not in its description."""
    values = layer.values() if isinstance(layer, Mapping) else ()
    for value in (*values, *(v for s in (layer.get("sprites") or () if values else ()) for v in s.values())):
        if isinstance(value, str) and value.startswith(_ARRAY):
            raise InputError(f"{told} was given an {value} from Python, which its description does not hold; give the motion again")
    return layer


def _described(part: Motion) -> dict[str, Any]:
    return {"kind": _KIND[type(part)], **_values(part)}


def _values(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if field.default is not MISSING and not isinstance(value, np.ndarray) and value == field.default:
            continue
        if field.name == "region":
            found |= _region(value)
        elif field.name == "sprites":
            found["sprites"] = [_values(sprite) for sprite in value]
        else:
            found[field.name] = _plain(value)
    return found


def _region(region: Any) -> dict[str, Any]:
    if isinstance(region, np.ndarray | str | os.PathLike):
        return {"mask": _plain(region)}
    key = "polygon" if isinstance(region[0], tuple) else {4: "box", 3: "disc"}[len(region)]
    return {key: _plain(region)}


def _plain(value: Any) -> Any:
    value = getattr(value, "frames", value)  # a clip
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:12]
        return f"{_ARRAY}{'x'.join(map(str, value.shape))} {value.dtype} {digest}"
    if isinstance(value, str | os.PathLike) and not _is_word(value):
        return str(Path(value).expanduser().absolute())
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _is_word(value: Any) -> bool:
    from .ease import EASES

    return isinstance(value, str) and value in EASES

