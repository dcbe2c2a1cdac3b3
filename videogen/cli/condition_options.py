"""`videogen render`: images, videos, masks and audio that a video is made from, and the model's own options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError
from videogen.core.tables import parse_toml
from videogen.request.conditions import FITS

from .types import Json

#: fields of a request that are tables, of which a layer of higher precedence replaces single entries
TABLES = ("conditions", "options")
_SINGLE = ("image", "last_image", "video", "mask", "audio", "strength", "fit")


def add_options(render: argparse.ArgumentParser) -> None:
    """The options, in a group of their own."""
    group = render.add_argument_group(
        "conditions (what the video is made from besides the prompt; `videogen models MODEL` lists what a model takes)"
    )
    group.add_argument("--image", metavar="FILE", help="the first frame")
    group.add_argument("--last-image", metavar="FILE", help="the last frame, together with --image")
    group.add_argument(
        "--images", action="append", metavar="N=FILE", help="an image at frame N, such as 24=middle.png; repeatable"
    )
    group.add_argument("--video", metavar="FILE", help="a video to edit, to start from or to continue")
    group.add_argument("--mask", metavar="FILE", help="image or video: white where --video is generated")
    group.add_argument(
        "--control", action="append", metavar="NAME=FILE", help="a control video, such as depth=d.mp4; repeatable"
    )
    group.add_argument(
        "--reference", action="append", metavar="FILE", help="an image of what appears in the video; repeatable"
    )
    group.add_argument("--audio", metavar="FILE", help="a sound track to follow")
    group.add_argument(
        "--strength", type=float, metavar="X", help="0: the video as it is, 1: only its outline (default: the model's)"
    )
    group.add_argument(
        "--fit", metavar="RULE",
        help=f"for images and videos of another aspect ratio: {', '.join(FITS)} (default: {FITS[0]}); never stretched",
    )  # fmt: skip
    group.add_argument(
        "--set", action="append", dest="own_options", metavar="NAME=VALUE",
        help="an option of the model's own pipeline, such as motion_bucket_id=127; repeatable",
    )  # fmt: skip


def tables_from_flags(options: argparse.Namespace) -> Json:
    """`conditions` and `options` of a request, as far as flags set them. InputError for entries of another form."""
    conditions: Json = {name: getattr(options, name) for name in _SINGLE if getattr(options, name) is not None}
    if options.images:
        conditions["images"] = dict(_split_frame(entry) for entry in options.images)
    if options.control:
        conditions["control"] = dict(_split("control", entry, "depth=depth.mp4") for entry in options.control)
    if options.reference:
        conditions["references"] = list(options.reference)
    own = dict(_split("set", entry, "motion_bucket_id=127") for entry in options.own_options or ())
    tables = {"conditions": conditions, "options": {name: parse_value(text) for name, text in own.items()}}
    return {name: table for name, table in tables.items() if table}


def parse_value(text: str) -> Any:
    """A value as in TOML: a number, true, "text" or a list; anything else is text as it is."""
    if "\n" not in text:
        try:
            return parse_toml(f"value = {text}", "--set")["value"]
        except InputError:
            pass
    return text


def merge_layer(values: Mapping[str, Any], layer: Mapping[str, Any]) -> Json:
    """Settings with those of a layer of higher precedence; of conditions and options, entry by entry."""
    merged = {**values, **layer}
    for name in TABLES:
        if isinstance(values.get(name), Mapping) and isinstance(layer.get(name), Mapping):
            merged[name] = {**values[name], **layer[name]}
    return merged


def resolve_files(conditions: Any, folder: Path) -> Any:
    """Conditions of a configuration file, their files relative to its folder."""
    if not isinstance(conditions, Mapping):
        return conditions
    return {name: _resolve(value, folder) if name != "fit" else value for name, value in conditions.items()}


def _resolve(value: Any, folder: Path) -> Any:
    if isinstance(value, str) and value.strip():
        return str((folder / Path(value).expanduser()).absolute())
    if isinstance(value, Mapping):
        return {key: _resolve(one, folder) for key, one in value.items()}
    return [_resolve(one, folder) for one in value] if isinstance(value, list) else value


def _split(option: str, entry: str, example: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not (name.strip() and equals and value):
        raise InputError(f"--{option} {entry!r} is not NAME=VALUE; write it as --{option} {example}")
    return name.strip(), value


def _split_frame(entry: str) -> tuple[int, str]:
    frame, file = _split("images", entry, "24=middle.png")
    try:
        return int(frame), file
    except ValueError:
        raise InputError(
            f"--images {entry!r}: {frame!r} is not a frame number; write it as --images 24=middle.png"
        ) from None
