"""Motion in words: `pan=8,zoom=1.2,ease=in_out`, `10,32>50,32`, and plans as TOML files.

    [[layer]]
    kind = "drag"                      # camera, drag, cut_drag, transfer, tracks, flow
    box = [4, 24, 20, 40]              # or disc = [x, y, radius], polygon = [[x, y], ...], mask = "mask.png"
    path = [[12, 32], [50, 32]]

    [[layer]]
    kind = "camera"
    zoom = 1.2
    ease = "in_out"

Layers come lowest first. File names are relative to the TOML file's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError, unknown
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
    return Camera(**_options(text, "camera", [field.name for field in fields(Camera)], ","))


def parse_drag(text: str) -> Drag:
    """`10,32>50,32`: a path of x,y points in px, then options:
    `10,32>30,20>50,32;radius=12;scale=1.2;rotate=30;ease=in_out`."""
    path, _, rest = text.partition(";")
    points = tuple(_point(piece, text) for piece in path.split(">"))
    if len(points) < 2:
        raise InputError(f"drag {text!r} has no way to go; write it as '10,32>50,32'")
    options = _options(rest, "drag", _DRAG_OPTIONS, ";") if rest.strip() else {}
    radius = options.pop("radius", None)
    return Drag(None if radius is None else (*points[0], radius), points, **options)


def load_plan(path: str | os.PathLike[str]) -> Motion:
    """The motion in a TOML file (see above). InputError for one that cannot be read, and for a key that is not
    known."""
    values = parse_toml(read_text(Path(path), "the motion plan "), str(path))
    check_keys(values, ("layer",), str(path))
    layers = values.get("layer", [])
    if not isinstance(layers, list) or not layers:
        raise InputError(f"{path} has no layer; begin one with [[layer]] and kind = 'camera'")
    made = tuple(layer_of(layer, Path(path).parent, f"{path}, layer {i}") for i, layer in enumerate(layers, 1))
    return made[0] if len(made) == 1 else Compose(made)


def layer_of(values: Any, folder: Path, told: str) -> Motion:
    """One layer from its dict; `told` begins its errors."""
    kind = values.get("kind") if isinstance(values, dict) else None
    if kind is None:
        raise InputError(f"{told} has no kind; use one of {', '.join(_KINDS)}")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise unknown("kind of layer", str(kind), _KINDS)
    known, make = _KINDS[kind]
    rest = {key: value for key, value in values.items() if key != "kind"}
    check_keys(rest, known, told)
    return _made(make, rest, folder, told)


def _made(make: Callable[..., Motion], values: dict[str, Any], folder: Path, told: str) -> Motion:
    """The part, its errors telling where in the file they are."""
    try:
        return make(values, folder)
    except (InputError, TypeError) as error:
        raise InputError(f"{told}: {error}") from error


def _drag(values: dict[str, Any], folder: Path, make: type[Drag] = Drag) -> Drag:
    rest = _with_region(values, folder)
    if "picture" in rest:
        rest["picture"] = _file(rest["picture"], folder)
    return make(**rest)


def _cut_drag(values: dict[str, Any], folder: Path) -> CutDrag:
    sprites = []
    given = values.get("sprites", ())
    if not isinstance(given, list | tuple) or not all(isinstance(sprite, dict) for sprite in given):
        raise InputError(f"sprites={given!r} must be a list of tables, each with a picture or a region, and a path")
    for sprite in given:
        check_keys(sprite, (*_MOVED, "picture"), "a sprite")
        sprites.append(_drag(sprite, folder, Sprite))
    return CutDrag(tuple(sprites))


def _from_file(make: Callable[..., Motion], key: str) -> Callable[[dict[str, Any], Path], Motion]:
    def made(values: dict[str, Any], folder: Path) -> Motion:
        if key not in values:
            raise InputError(f"{key!r} is missing; name the file")
        return make(**{**_with_region(values, folder), key: _file(values[key], folder)})

    return made


_KINDS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any], Path], Motion]]] = {
    "camera": (tuple(field.name for field in fields(Camera)), lambda values, folder: Camera(**values)),
    "drag": (_MOVED, _drag),
    "cut_drag": (("sprites",), _cut_drag),
    "transfer": (("video", *_REGIONS), _from_file(Transfer, "video")),
    "tracks": (("file", *_REGIONS), _from_file(Tracks, "file")),
    "flow": (("file", *_REGIONS), _from_file(Flow, "file")),
}


def _with_region(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values with `region` in place of mask, box, disc or polygon."""
    rest = {key: value for key, value in values.items() if key not in _REGIONS}
    given = [key for key in _REGIONS if key in values]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are both given; one of them says what moves")
    for key in given:
        rest["region"] = _file(values[key], folder) if key == "mask" else _shape(key, values[key])
    return rest


def _shape(key: str, value: Any) -> Any:
    count = {"box": 4, "disc": 3}.get(key)
    if count is not None and (not isinstance(value, list) or len(value) != count):
        raise InputError(
            f"{key}={value!r} needs {count} numbers: {'x0, y0, x1, y1' if key == 'box' else 'x, y, radius'}"
        )
    if count is None and (not isinstance(value, list) or not all(isinstance(point, list) for point in value)):
        raise InputError(f"polygon={value!r} needs points [[x, y], ...]")
    return tuple(tuple(point) for point in value) if count is None else tuple(value)


def _file(value: Any, folder: Path) -> Path:
    if not isinstance(value, str) or not value:
        raise InputError(f"{value!r} is no file name")
    return folder / Path(value).expanduser()


def _options(text: str, kind: str, known: Any, separator: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for piece in text.split(separator):
        key, equals, value = (word.strip() for word in piece.partition("="))
        if not equals or not value:
            raise InputError(
                f"{piece.strip()!r} in {kind} {text!r} is no setting; write key=value, such as ease=in_out"
            )
        if key not in known:
            raise unknown(f"{kind} key", key, known)
        if key in values:
            raise InputError(f"{key} is given twice in {kind} {text!r}")
        values[key] = value if key == "ease" else _number(value, f"{key} in {kind} {text!r}")
    return values


def _point(piece: str, text: str) -> tuple[float, float]:
    numbers = piece.split(",")
    if len(numbers) != 2:
        raise InputError(f"{piece.strip()!r} in drag {text!r} is no point; write x,y in px, such as '10,32>50,32'")
    return _number(numbers[0], f"drag {text!r}"), _number(numbers[1], f"drag {text!r}")


def _number(word: str, told: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InputError(f"{word.strip()!r} of {told} is no number") from None
