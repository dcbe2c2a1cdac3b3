"""Parsers of motion specifications: camera and drag strings (`pan=8,zoom=1.2,ease=in_out`, `10,32>50,32`) and TOML
files.

    [[layer]]
    kind = "drag"                      # camera, drag, cut_drag, transfer, tracks, flow
    box = [4, 24, 20, 40]              # or disc = [x, y, radius], polygon = [[x, y], ...], mask = "mask.png"
    path = [[12, 32], [50, 32]]

    [[layer]]
    kind = "camera"
    zoom = 1.2
    ease = "in_out"

Layers are listed lowest first. File names are relative to the TOML file's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError, unknown
from videogen.core.file_names import resolve_file
from videogen.core.stored_keys import SPRITE_KEYS, with_current_keys
from videogen.core.tables import check_keys, parse_toml, read_text

from .camera import Camera
from .drag import CutDrag, Drag, Sprite
from .sources import Flow, Tracks, Transfer
from .spec import Compose, Motion

_REGIONS = ("mask", "box", "disc", "polygon")
_MOVED = (*_REGIONS, "path", "scale", "rotate", "ease", "depth")
_DRAG_OPTIONS = ("radius", "scale", "rotate", "ease", "depth")


def parse_camera(text: str) -> Camera:
    """`pan=8,zoom=1.2,ease=in_out`: any of Camera's fields; InputError for anything else."""
    return Camera(**_parse_options(text, "camera", [field.name for field in fields(Camera)], ","))


def parse_drag(text: str) -> Drag:
    """`10,32>50,32`: a path of x,y points in px, then options:
    `10,32>30,20>50,32;radius=12;scale=1.2;rotate=30;ease=in_out`."""
    path, _, rest = text.partition(";")
    points = tuple(_parse_point(point, text) for point in path.split(">"))
    if len(points) < 2:
        raise InputError(f"drag {text!r} needs at least two points; write it as '10,32>50,32'")
    options = _parse_options(rest, "drag", _DRAG_OPTIONS, ";") if rest.strip() else {}
    radius = options.pop("radius", None)
    return Drag(None if radius is None else (*points[0], radius), points, **options)


def load_plan(path: str | os.PathLike[str]) -> Motion:
    """The motion in a TOML file (see above). InputError for an unreadable file and for an unknown key."""
    values = parse_toml(read_text(Path(path), "the motion plan "), str(path))
    check_keys(values, ("layer",), str(path))
    layers = values.get("layer", [])
    if not isinstance(layers, list) or not layers:
        raise InputError(f"{path} has no layer; begin one with [[layer]] and kind = 'camera'")
    parts = tuple(build_layer(layer, Path(path).parent, f"{path}, layer {i}") for i, layer in enumerate(layers, 1))
    return parts[0] if len(parts) == 1 else Compose(parts)


def build_layer(values: Any, folder: Path, where: str) -> Motion:
    """One layer from its dict. where: the layer's place, for the messages of errors."""
    kind = values.get("kind") if isinstance(values, dict) else None
    if kind is None:
        raise InputError(f"{where} has no kind; use one of {', '.join(_KINDS)}")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise unknown("kind of layer", str(kind), _KINDS)
    known, build = _KINDS[kind]
    rest = {key: value for key, value in values.items() if key != "kind"}
    check_keys(rest, known, where)
    try:
        return build(rest, folder)
    except (InputError, TypeError) as error:
        raise InputError(f"{where}: {error}") from error


def _build_drag(values: dict[str, Any], folder: Path, kind: type[Drag] = Drag) -> Drag:
    rest = _with_region(values, folder)
    if "image" in rest:
        rest["image"] = _read_file_name(rest["image"], folder)
    return kind(**rest)


def _build_cut_drag(values: dict[str, Any], folder: Path) -> CutDrag:
    sprites = []
    given = values.get("sprites", ())
    if not isinstance(given, list | tuple) or not all(isinstance(sprite, dict) for sprite in given):
        raise InputError(f"sprites={given!r} must be a list of tables, each with an image or a region, and a path")
    for sprite in given:
        values = with_current_keys(sprite, SPRITE_KEYS)
        check_keys(values, (*_MOVED, "image"), "a sprite")
        sprites.append(_build_drag(values, folder, Sprite))
    return CutDrag(tuple(sprites))


def _builder_from_file(kind: Callable[..., Motion], key: str) -> Callable[[dict[str, Any], Path], Motion]:
    def build(values: dict[str, Any], folder: Path) -> Motion:
        if key not in values:
            raise InputError(f"{key!r} is missing; name the file")
        return kind(**{**_with_region(values, folder), key: _read_file_name(values[key], folder)})

    return build


_KINDS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any], Path], Motion]]] = {
    "camera": (tuple(field.name for field in fields(Camera)), lambda values, folder: Camera(**values)),
    "drag": (_MOVED, _build_drag),
    "cut_drag": (("sprites",), _build_cut_drag),
    "transfer": (("video", "fit", "timing", *_REGIONS), _builder_from_file(Transfer, "video")),
    "tracks": (("file", "size", "timing", *_REGIONS), _builder_from_file(Tracks, "file")),
    "flow": (("file", *_REGIONS), _builder_from_file(Flow, "file")),
}


def _with_region(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values with `region` in place of mask, box, disc or polygon."""
    rest = {key: value for key, value in values.items() if key not in _REGIONS}
    given = [key for key in _REGIONS if key in values]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are both given; a layer has one region, keep one of them")
    for key in given:
        rest["region"] = _read_file_name(values[key], folder) if key == "mask" else _parse_shape(key, values[key])
    return rest


def _parse_shape(key: str, value: Any) -> Any:
    count = {"box": 4, "disc": 3}.get(key)
    if count is not None and (not isinstance(value, list) or len(value) != count):
        raise InputError(
            f"{key}={value!r} needs {count} numbers: {'x0, y0, x1, y1' if key == 'box' else 'x, y, radius'}"
        )
    if count is None and (not isinstance(value, list) or not all(isinstance(point, list) for point in value)):
        raise InputError(f"polygon={value!r} needs points [[x, y], ...]")
    return tuple(tuple(point) for point in value) if count is None else tuple(value)


def _read_file_name(value: Any, folder: Path) -> Path:
    if not isinstance(value, str) or not value:
        raise InputError(f"{value!r} is not a file name")
    return resolve_file(value, folder)


def _parse_options(text: str, kind: str, known: Any, separator: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in text.split(separator):
        key, equals, value = (word.strip() for word in option.partition("="))
        if not equals or not value:
            raise InputError(
                f"{option.strip()!r} in {kind} {text!r} is not an option; write key=value, such as ease=in_out"
            )
        if key not in known:
            raise unknown(f"{kind} key", key, known)
        if key in values:
            raise InputError(f"{key} is given twice in {kind} {text!r}")
        values[key] = value if key == "ease" else _parse_number(value, f"{key} in {kind} {text!r}")
    return values


def _parse_point(point: str, text: str) -> tuple[float, float]:
    numbers = point.split(",")
    if len(numbers) != 2:
        raise InputError(f"{point.strip()!r} in drag {text!r} is not a point; write x,y in px, such as '10,32>50,32'")
    return _parse_number(numbers[0], f"drag {text!r}"), _parse_number(numbers[1], f"drag {text!r}")


def _parse_number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{text.strip()!r} in {where} is not a number") from None
