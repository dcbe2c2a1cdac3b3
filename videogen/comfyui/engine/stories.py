"""Storyboards of the engine's nodes: a video of any length, written into ComfyUI's output folder as it is rendered.

The file's name has a digest of the request, so that an interrupted video resumes when the same one is queued again,
also by another server.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError
from videogen.core.file_names import files_within, resolve_file
from videogen.request.request import RenderRequest

from .models import fingerprint_files
from .requests import build_request, read_story

if TYPE_CHECKING:
    from videogen.engine.engine import Engine

_DIGITS = 10


@dataclass(frozen=True)
class StoryFile:
    """path: of the video; subfolder: below ComfyUI's output folder, for what is shown at the node."""

    path: Path
    subfolder: str


def build_story(values: Mapping[str, Any], **given: Any) -> RenderRequest:
    """The request of a storyboard's widgets. given: as of `build_request`. InputError for what is wrong for every
    model."""
    others = {name: value for name, value in values.items() if name not in ("story", "file", "prompt")}
    return build_request(others, story=read_story(values, _input_folder()), **given)


def fingerprint_story(values: Mapping[str, Any]) -> str:
    """Changes when the story's file does; files that it names are not watched."""
    file = str(values.get("file") or "").strip()
    try:
        with files_within(_input_folder()):
            return fingerprint_files([resolve_file(file, _input_folder())]) if file else ""
    except InputError:
        return ""


def place_story(engine: Engine, request: RenderRequest, prefix: str) -> StoryFile:
    """Where the video of a request is written. InputError for a prefix outside the output folder."""
    import folder_paths

    output = Path(folder_paths.get_output_directory())
    if not (output / prefix).resolve().is_relative_to(output.resolve()) or not Path(prefix).name:
        raise InputError(f"filename_prefix={prefix!r} is not below ComfyUI's output folder; give one such as 'story'")
    folder, name, _, subfolder, _ = folder_paths.get_save_image_path(prefix, str(output))
    described = [request.resolve(engine.backbone).to_dict(), engine.backbone.identity]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]
    return StoryFile(Path(folder) / f"{name}_{digest}.mp4", subfolder)


def _input_folder() -> Path:
    import folder_paths

    return Path(folder_paths.get_input_directory())
