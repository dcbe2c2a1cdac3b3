"""Motion as plain data: a list of layers, each a dict as in a TOML plan, for requests, manifests and files."""

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
from .flow import FlowPair
from .parsing import build_layer, load_plan
from .sources import Flow, Tracks, Transfer
from .spec import Compose, Motion, parts_of

_KINDS = {Camera: "camera", Drag: "drag", CutDrag: "cut_drag", Transfer: "transfer", Tracks: "tracks", Flow: "flow"}
_FILES = ("mask", "image", "video", "file")  # keys whose values are file names
_ARRAY = "array "  # prefix of a value that was an array, whose content is not stored


def to_layers(motion: Motion) -> list[dict[str, Any]]:
    """The motion's layers, lowest first, in the form that `from_layers` reads: file names are absolute, defaults left
    out.

    Arrays (masks, sprites, clips, flow) are represented by shape and hash only: such a description can be compared, but
    not read back.
    """
    return [_describe(part) for part in parts_of(motion)]


def from_layers(layers: object, folder: str | os.PathLike[str] = ".", where: str = "motion") -> Motion:
    """The motion described by a list of layers; file names are relative to `folder`. An InputError names `where` and
    the layer."""
    if isinstance(layers, Mapping):
        layers = [layers]
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not layers:
        raise InputError(f"{where}={layers!r} must be a list of layers, such as [{{kind = 'camera', pan = 8}}]")
    parts = []
    for number, layer in enumerate(layers, 1):
        _check_has_arrays(layer, where)
        parts.append(build_layer(layer, Path(folder), f"{where}, layer {number}"))
    return parts[0] if len(parts) == 1 else Compose(tuple(parts))


def as_motion(motion: object) -> Motion:
    """A motion from any form that a user gives: a `Motion`, layers, or the path of a TOML plan."""
    if isinstance(motion, Motion):
        return motion
    if isinstance(motion, str | os.PathLike):
        return load_plan(motion)
    return from_layers(motion)


def digests(motion: Motion, *more: str | os.PathLike[str] | None) -> dict[str, str]:
    """Content hashes, by absolute name, of the files that a motion reads and of `more`. The hash of a folder covers its
    files."""
    parts = [part for layer in to_layers(motion) for part in (layer, *layer.get("sprites", ()))]
    names = [name for part in parts for name in _file_names(part)]
    return {name: digest(Path(name)) for name in (*names, *(str(path) for path in more if path is not None))}


def _file_names(layer: Mapping[str, Any]) -> list[str]:
    return [layer[key] for key in _FILES if isinstance(layer.get(key), str) and not layer[key].startswith(_ARRAY)]


def _check_has_arrays(layer: Any, where: str) -> None:
    """InputError for a layer that was built from arrays, which its description does not contain."""
    sprites = layer.get("sprites") if isinstance(layer, Mapping) else None
    for part in (layer, *(sprites if isinstance(sprites, list) else ())):
        for value in part.values() if isinstance(part, Mapping) else ():
            if not (isinstance(value, str) and value.startswith(_ARRAY)):
                continue
            raise InputError(f"{where} was built from an {value} in Python, which is not stored; pass the motion again")


def _describe(part: Motion) -> dict[str, Any]:
    if isinstance(part, Sprite):
        part = CutDrag((part,))
    kind = next((name for known, name in _KINDS.items() if isinstance(part, known)), None)
    if kind is None:
        raise InputError(
            f"{type(part).__name__} is not a motion that can be stored; use "
            f"{', '.join(known.__name__ for known in _KINDS)}"
        )
    return {"kind": kind, **_values(part)}


def _values(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if field.default is not MISSING and not isinstance(value, np.ndarray) and value == field.default:
            continue
        if field.name == "region":
            found |= _describe_region(value)
        elif field.name == "sprites":
            found["sprites"] = [_values(sprite) for sprite in value]
        else:
            found[field.name] = _to_plain(value, field.name in _FILES)
    return found


def _describe_region(region: Any) -> dict[str, Any]:
    if isinstance(region, np.ndarray | str | os.PathLike):
        return {"mask": _to_plain(region, is_file=True)}
    key = "polygon" if isinstance(region[0], tuple) else {4: "box", 3: "disc"}[len(region)]
    return {key: _to_plain(region)}


def _to_plain(value: Any, is_file: bool = False) -> Any:
    value = value.forward if isinstance(value, FlowPair) else getattr(value, "frames", value)  # a clip
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:12]
        return f"{_ARRAY}{'x'.join(map(str, value.shape))} {value.dtype} {digest}"
    if is_file:
        return str(Path(value).expanduser().absolute())
    return [_to_plain(item) for item in value] if isinstance(value, tuple) else value


def is_global(motion: Motion) -> bool:
    """Whether a motion moves the entire frame: a camera, or a source without a region."""
    return any(
        isinstance(part, Camera) or (isinstance(part, Transfer | Tracks | Flow) and part.region is None)
        for part in parts_of(motion)
    )
