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
from videogen.core.files import digest

from .camera import Camera
from .drag import CutDrag, Drag, Sprite
from .parsing import layer_of, load_plan
from .sources import Flow, Tracks, Transfer
from .spec import Compose, Motion, parts_of

_KINDS = {Camera: "camera", Drag: "drag", CutDrag: "cut_drag", Transfer: "transfer", Tracks: "tracks", Flow: "flow"}
_FILES = ("mask", "picture", "video", "file")  # keys whose words are names of files
_ARRAY = "array "  # how a value begins that was an array and is not in the description


def to_layers(motion: Motion) -> list[dict[str, Any]]:
    """The motion's layers, lowest first, as `from_layers` reads them: file names absolute, defaults left out.

    Arrays (masks, sprites, clips, flow) are named by shape and hash only: such a description can be compared, not read
    again.
    """
    return [_described(part) for part in parts_of(motion)]


def from_layers(layers: object, folder: str | os.PathLike[str] = ".", told: str = "motion") -> Motion:
    """The motion that a list of layers describes; file names are relative to `folder`. InputError names the layer."""
    if isinstance(layers, Mapping):
        layers = [layers]
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not layers:
        raise InputError(f"{told}={layers!r} must be a list of layers, such as [{{kind = 'camera', pan = 8}}]")
    made = tuple(
        layer_of(_checked(layer, told), Path(folder), f"{told}, layer {i}") for i, layer in enumerate(layers, 1)
    )
    return made[0] if len(made) == 1 else Compose(made)


def as_motion(motion: object) -> Motion:
    """A motion from whatever a user gives: a `Motion`, layers, or a TOML plan's path."""
    if isinstance(motion, Motion):
        return motion
    if isinstance(motion, str | os.PathLike):
        return load_plan(motion)
    return from_layers(motion)


def digests(motion: Motion, *more: str | os.PathLike[str] | None) -> dict[str, str]:
    """The content's hash of each file that a motion reads, and of `more`: by absolute name. A folder's is that of its
    files."""
    named = [
        value for layer in to_layers(motion) for part in (layer, *layer.get("sprites", ())) for value in _named(part)
    ]
    return {name: digest(Path(name)) for name in (*named, *(str(path) for path in more if path is not None))}


def _named(layer: Mapping[str, Any]) -> list[str]:
    return [layer[key] for key in _FILES if isinstance(layer.get(key), str) and not layer[key].startswith(_ARRAY)]


def _checked(layer: Any, told: str) -> Any:
    """InputError for a layer whose arrays are not in its description."""
    sprites = layer.get("sprites") if isinstance(layer, Mapping) else None
    for part in (layer, *(sprites if isinstance(sprites, list) else ())):
        for value in part.values() if isinstance(part, Mapping) else ():
            if not (isinstance(value, str) and value.startswith(_ARRAY)):
                continue
            raise InputError(
                f"{told} was given an {value} from Python, which its description does not hold; give the motion again"
            )
    return layer


def _described(part: Motion) -> dict[str, Any]:
    if isinstance(part, Sprite):
        part = CutDrag((part,))
    kind = next((name for sort, name in _KINDS.items() if isinstance(part, sort)), None)
    if kind is None:
        raise InputError(
            f"{type(part).__name__} is no motion that can be told; use {', '.join(sort.__name__ for sort in _KINDS)}"
        )
    return {"kind": kind, **_values(part)}


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
            found[field.name] = _plain(value, field.name in _FILES)
    return found


def _region(region: Any) -> dict[str, Any]:
    if isinstance(region, np.ndarray | str | os.PathLike):
        return {"mask": _plain(region, is_file=True)}
    key = "polygon" if isinstance(region[0], tuple) else {4: "box", 3: "disc"}[len(region)]
    return {key: _plain(region)}


def _plain(value: Any, is_file: bool = False) -> Any:
    value = getattr(value, "frames", value)  # a clip
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:12]
        return f"{_ARRAY}{'x'.join(map(str, value.shape))} {value.dtype} {digest}"
    if is_file:
        return str(Path(value).expanduser().absolute())
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def moves_whole(motion: Motion) -> bool:
    """Whether a motion says of the whole picture where it goes: a camera, or a source without a region."""
    return any(
        isinstance(part, Camera) or (isinstance(part, Transfer | Tracks | Flow) and part.region is None)
        for part in parts_of(motion)
    )
