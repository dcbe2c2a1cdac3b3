"""From flags, a configuration file, a preset or another video to one request: flags > config > preset > model."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from videogen.configs import load_preset
from videogen.core.errors import InputError
from videogen.core.manifest import Manifest
from videogen.core.stored_keys import REQUEST_KEYS, with_current_keys
from videogen.core.tables import check_keys, parse_toml, read_text
from videogen.request.request import RenderRequest

from . import motion

_OUTPUT_KEYS: dict[str, tuple[type, ...]] = {"output": (str, Path), "overwrite": (bool,), "quality": (int,)}
_INSTEAD = {
    "frames": "seconds",
    "seconds": "frames",
    "prompt": "story",
    "story": "prompt",
}  # which takes the place of which
_SIZE = re.compile(r"(\d+)[xX*](\d+)")


def gather(options: argparse.Namespace) -> tuple[RenderRequest, dict[str, Any], Manifest | None]:
    """The request, the output settings, and the manifest of the video to repeat.

    The settings are `output`, `overwrite`, `quality`, `preview_only` where a motion's preview is all that can be made,
    and `story`, a story file's name without its end.
    """
    like = None if options.like is None else _from_video(options.like)
    layers = [
        {} if options.preset is None else load_preset(options.preset),
        {} if options.config is None else _from_file(options.config),
        _from_flags(options),
    ]
    values = {} if like is None else _like(like, {key for layer in layers for key in layer})
    for layer in layers:
        values = {
            key: value for key, value in values.items() if key not in {_INSTEAD.get(name) for name in layer}
        } | layer
    output = {key: values.pop(key) for key in _OUTPUT_KEYS if key in values}
    for key, value in output.items():
        if not isinstance(value, _OUTPUT_KEYS[key]) or (isinstance(value, bool) and key != "overwrite"):
            raise InputError(f"{key}={value!r} must be {_OUTPUT_KEYS[key][0].__name__}, not {type(value).__name__}")
    if isinstance(values.get("story"), str | Path):
        output["story"] = Path(values["story"]).stem
    told = "prompt" in values or values.get("story") is not None
    if not told and options.motion_preview is not None:
        values["prompt"] = "a motion's preview"
        output["preview_only"] = True
    elif not told:
        raise InputError('no prompt; say what the video shows: videogen render "a red ball moves right"')
    return RenderRequest.from_dict(values), output, like


def _like(like: Manifest, asked: set[str]) -> dict[str, Any]:
    """What another video's manifest says, without what would stand in the way of what else is `asked` for."""
    values = {"continuity": "off"} | like.request  # a video of before there were long ones is one clip
    values |= {key: value for key, value in like.output.items() if key == "quality" and value is not None}
    if "story" in asked:
        values.pop("frames", None)  # the other video's story's
    if values["continuity"] == "off" and asked & {"frames", "seconds", "story", "window"}:
        values.pop("continuity")
    return values


def _from_flags(options: argparse.Namespace) -> dict[str, Any]:
    values = {f.name: getattr(options, f.name, None) for f in fields(RenderRequest)}
    values["motion"] = motion.from_flags(options)
    if options.size is not None:
        match = _SIZE.fullmatch(options.size.strip())
        if match is None:
            raise InputError(f"size {options.size!r} is not WIDTHxHEIGHT; write it as 832x480")
        values["width"], values["height"] = int(match[1]), int(match[2])
    values |= {"output": options.output, "overwrite": options.overwrite or None, "quality": options.quality}
    return {key: value for key, value in values.items() if value is not None}


def _from_file(path: Path) -> dict[str, Any]:
    values = with_current_keys(parse_toml(read_text(path), str(path)), REQUEST_KEYS)
    check_keys(values, [*(f.name for f in fields(RenderRequest)), *_OUTPUT_KEYS], str(path))
    return values | _of_folder(values, path.parent)


def _of_folder(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The files that a configuration names, relative to its own folder."""
    from videogen.motion.parsing import load_plan
    from videogen.motion.serialisation import from_layers, to_layers

    found: dict[str, Any] = _story_of(values["story"], folder) if values.get("story") is not None else {}
    asked = values.get("motion")
    if asked is not None:
        found["motion"] = to_layers(load_plan(folder / asked) if isinstance(asked, str) else from_layers(asked, folder))
    if isinstance(values.get("first_frame"), str):
        found["first_frame"] = str((folder / values["first_frame"]).absolute())
    return found


def _story_of(story: Any, folder: Path) -> dict[str, Any]:
    from videogen.timeline import as_timeline

    if isinstance(story, str) and "\n" not in story and not story.lstrip().startswith("["):
        return {"story": (folder / Path(story).expanduser()).absolute()}
    return {"story": as_timeline(story, folder).to_dict()}


def _from_video(path: Path) -> Manifest:
    from videogen.media.metadata import read_manifest

    values = read_manifest(path)
    if values is None:
        raise InputError(f"{path} carries no videogen manifest; only videos that videogen wrote can be repeated")
    return Manifest.from_dict(values)


def default_output(request: RenderRequest, story: str | None = None) -> Path:
    """`out/<words of the prompt, or the story file's name>-<seed>.mp4`."""
    words = re.sub(r"[^a-z0-9]+", "-", (story or request.prompt).lower()).strip("-")[:48].rstrip("-") or "video"
    return Path("out") / f"{words}-{request.seed}.mp4"
