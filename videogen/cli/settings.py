"""Settings of a render: from flags, a configuration file, a preset or another video to one request.

Precedence: flags, then the configuration, then the preset, then the model's defaults.
"""

from __future__ import annotations

import argparse
import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from videogen.backbones.checkpoints.names import is_present
from videogen.backbones.load_options import COMPONENTS
from videogen.configs import load_preset
from videogen.core.errors import InputError
from videogen.core.manifest import Manifest
from videogen.core.stored_keys import REQUEST_KEYS, with_current_keys
from videogen.core.tables import check_keys, parse_toml, read_text
from videogen.longvideo.journal.job import is_job_of, job_folder
from videogen.request.model_sources import SOURCE_FIELDS
from videogen.request.request import RenderRequest

from . import motion
from .condition_options import TABLES, merge_layer, resolve_files, tables_from_flags
from .lora_options import locate_files
from .types import Json

if TYPE_CHECKING:
    from videogen.longvideo.stored_job import StoredJob
    from videogen.request.resolved import ResolvedRequest

_OUTPUT_KEYS: dict[str, tuple[type, ...]] = {"output": (str, Path), "overwrite": (bool,), "quality": (int,)}
#: A setting that replaces another one of a lower precedence.
_REPLACES = {"frames": "seconds", "seconds": "frames", "prompt": "story", "story": "prompt"}
_SIZE = re.compile(r"(\d+)[xX*](\d+)")


@dataclass(frozen=True)
class OutputSettings:
    """Where and how the video is written. quality: the encoder's CRF; None for its default. is_default: whether the
    name was not given, so that another free one is as good."""

    path: Path
    overwrite: bool = False
    quality: int | None = None
    is_default: bool = False


@dataclass(frozen=True)
class RenderSettings:
    """like: the manifest of the video to repeat; model_from_like: whether the model is the one that it names;
    preview_only: there is no prompt, only a motion to preview; job: the one that is resumed."""

    request: RenderRequest
    output: OutputSettings
    like: Manifest | None = None
    model_from_like: bool = False
    preview_only: bool = False
    job: StoredJob | None = None


def gather_settings(options: argparse.Namespace) -> RenderSettings:
    """The settings of `videogen render`. InputError for keys and values that are not valid."""
    like = None if options.like is None else read_manifest_of(options.like)
    if options.allow_model and like is None:
        raise InputError("--allow-model has no effect without --like or --resume; leave it out")
    layers = [
        {} if options.preset is None else load_preset(options.preset),
        {} if options.config is None else _read_config(options.config),
        _from_flags(options),
    ]
    values = {} if like is None else _from_manifest(like, {key for layer in layers for key in layer})
    for layer in layers:
        replaced = {_REPLACES.get(name) for name in layer}
        values = merge_layer({key: value for key, value in values.items() if key not in replaced}, layer)
    output = {key: values.pop(key) for key in _OUTPUT_KEYS if key in values}
    _check_output_types(output)
    story = values.get("story")
    preview_only = "prompt" not in values and story is None and not values.get("conditions")
    if preview_only:
        if options.motion_preview is None:
            raise InputError('no prompt; describe what the video shows: videogen render "a red ball moves right"')
        _check_preview_only(output, options)
        values["prompt"] = "a motion's preview"
    request = RenderRequest.from_dict(values)
    path = output.get("output") or default_output(request, Path(story).stem if isinstance(story, str | Path) else None)
    if str(path) == "-":
        raise InputError("output='-': a video is written to a file, not to stdout; name it, such as out.mp4")
    given = output.get("output") is not None
    settings = OutputSettings(Path(path), bool(output.get("overwrite")), output.get("quality"), is_default=not given)
    model_from_like = like is not None and not any("model" in layer for layer in layers)
    return RenderSettings(request, settings, like, model_from_like, preview_only)


def _check_preview_only(output: Json, options: argparse.Namespace) -> None:
    """InputError for files that only a render writes, where the prompt is missing."""
    files = {"output": output.get("output"), "report": options.report, "preview": options.preview}
    for name, path in files.items():
        if path is not None:
            raise InputError(
                f"no prompt, but {name}={str(path)!r}; describe what it shows, or leave {name} "
                "out to write only the motion's preview"
            )


def read_manifest_of(path: Path) -> Manifest:
    """A video's manifest. InputError where it has none."""
    from videogen.media.metadata import read_manifest

    values = read_manifest(path)
    if values is None:
        raise InputError(f"{path} has no videogen manifest; only videos that videogen wrote can be repeated")
    return Manifest.from_dict(values)


def default_output(request: RenderRequest, story: str | None = None) -> Path:
    """`out/NAME-SEED.mp4`, named after the prompt or the story's file, and after a model that is not the default."""
    model = "" if request.model in (None, "embedded") else f"-{as_name(Path(str(request.model)).name) or 'model'}"
    return Path("out") / f"{as_name(story or request.prompt) or 'video'}{model}-{request.seed}.mp4"


def choose_output(output: OutputSettings, request: RenderRequest, resolved: ResolvedRequest | None) -> Path:
    """The output's path; of a default name the one whose unfinished job is this request's, else the next free one.

    resolved: the request, resolved against its model; None where that is not possible yet: the first job is then taken
    for this request's.
    """
    if not output.is_default or output.overwrite:
        return output.path
    open_fields = {name for name in ("dtype", "device") if getattr(request, name) is None}
    if resolved is not None and resolved.continuity == "measured":
        open_fields.add("continuity")  # the job has the policy that a trial chose
    unfinished = [path for path in _numbered(output.path) if not path.exists()]
    for path in unfinished:
        folder = job_folder(path)
        if folder.exists() and (resolved is None or is_job_of(folder, resolved.to_dict(), open_fields)):
            return path
    return next(path for path in unfinished if not job_folder(path).exists())


def _numbered(path: Path) -> Iterator[Path]:
    """`NAME`, `NAME-2`, ... up to the first that is beyond all files and jobs of such a name."""
    there = len(list(path.parent.glob(f"{glob.escape(path.stem)}*"))) if path.parent.is_dir() else 0
    yield from (path.with_stem(f"{path.stem}-{number}") if number > 1 else path for number in range(1, there + 2))


def as_name(text: str) -> str:
    """A part of a file name: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].rstrip("-")


def _check_output_types(output: Json) -> None:
    for key, value in output.items():
        if not isinstance(value, _OUTPUT_KEYS[key]) or (isinstance(value, bool) and key != "overwrite"):
            raise InputError(f"{key}={value!r} must be {_OUTPUT_KEYS[key][0].__name__}, not {type(value).__name__}")


def _from_manifest(like: Manifest, given: set[str]) -> Json:
    """The settings of another video, without those that conflict with the keys that are `given`."""
    from videogen.backbones.checkpoints.revisions import pin_sources

    values = {"continuity": "off"} | like.request  # a video of a version without long videos is one clip
    values |= pin_sources(like.request, like.model)
    if "model" in given:
        values = {key: value for key, value in values.items() if key not in SOURCE_FIELDS}  # of the other model
    values |= {key: value for key, value in like.output.items() if key == "quality" and value is not None}
    if "story" in given:
        values.pop("frames", None)  # the length of the other video's story
    if values["continuity"] == "off" and given & {"frames", "seconds", "story", "window"}:
        values.pop("continuity")
    return values


def _from_flags(options: argparse.Namespace) -> Json:
    values = {field.name: getattr(options, field.name, None) for field in fields(RenderRequest)}
    values["motion"] = motion.layers_from_flags(options)
    values |= dict.fromkeys(TABLES) | tables_from_flags(options)
    if options.size is not None:
        values["width"], values["height"] = parse_size(options.size)
    values |= {"output": options.output, "overwrite": options.overwrite or None, "quality": options.quality}
    return {key: value for key, value in values.items() if value is not None}


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) in px of a text such as `832x480`. InputError for any other."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"size={text!r} is not WIDTHxHEIGHT; write it as 832x480")
    return int(match[1]), int(match[2])


def _read_config(path: Path) -> Json:
    values = with_current_keys(parse_toml(read_text(path), str(path)), REQUEST_KEYS)
    check_keys(values, [*(field.name for field in fields(RenderRequest)), *_OUTPUT_KEYS], str(path))
    return {**values, **_resolve_files(values, path.parent)}


def _resolve_files(values: Json, folder: Path) -> Json:
    """The settings of a configuration that name files, relative to its folder."""
    from videogen.motion.parsing import load_plan
    from videogen.motion.serialisation import from_layers, to_layers

    found: Json = {}
    if values.get("story") is not None:
        found["story"] = _resolve_story(values["story"], folder)
    plan = values.get("motion")
    if plan is not None:
        found["motion"] = to_layers(load_plan(folder / plan) if isinstance(plan, str) else from_layers(plan, folder))
    if values.get("conditions") is not None:
        found["conditions"] = resolve_files(values["conditions"], folder)
    found |= locate_files(values, folder)
    if isinstance(values.get("first_frame"), str):
        found["first_frame"] = str((folder / values["first_frame"]).absolute())
    for name in ("base", *COMPONENTS):
        if isinstance(values.get(name), str) and is_present(str(folder / values[name])):
            found[name] = str((folder / values[name]).absolute())
    return found


def _resolve_story(story: object, folder: Path) -> Path | Json:
    """A story's file, or the story itself as plain data."""
    from videogen.timeline import as_timeline

    if isinstance(story, str) and "\n" not in story and not story.lstrip().startswith("["):
        return (folder / Path(story).expanduser()).absolute()
    return as_timeline(story, folder).to_dict()
