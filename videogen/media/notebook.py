"""HTML of a clip in a notebook: the clip itself where it is small, otherwise a contact sheet."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from videogen.core.errors import VideogenError
from videogen.core.notebook import build_html, data_url

if TYPE_CHECKING:
    from .video import Video

_LARGEST_PLAYED = 48 << 20  # bytes of RGB: larger clips would take seconds to encode, each time a cell is shown
_LARGEST_FILE = 16 << 20  # bytes: larger files would make the page slow
_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif"}
_SHEET_WIDTH = 960  # px


def video_html(video: Video) -> str:
    """A `<div>` with the clip and its facts."""
    manifest = video.manifest or {}
    request = manifest.get("request")
    prompt = request.get("prompt") if isinstance(request, dict) else None
    facts = {
        "size": "{}x{} px".format(*video.size),
        "length": f"{len(video)} frames, {float(len(video) / video.fps):.2f} s at {float(video.fps):g} per second",
        **({"prompt": prompt} if prompt else {}),
        **{f"note {i}": note for i, note in enumerate(video.notes, 1)},
    }
    return build_html("Video", facts, _player(video) or _sheet(video))


def file_player(path: Path) -> str:
    """A player for a file that was written; empty where it is large, gone, or of a format that browsers do not play."""
    kind = _TYPES.get(path.suffix.lower())
    try:
        if kind is None or path.stat().st_size > _LARGEST_FILE:
            return ""
        source = data_url(path.read_bytes(), kind)
    except OSError:
        return ""
    return f"<img alt='video' src='{source}'>" if kind.startswith("image") else _video_element(source)


def _video_element(source: str) -> str:
    return f"<video controls loop muted autoplay src='{source}' style='min-width:256px;max-width:100%'></video>"


def _player(video: Video) -> str:
    """A video element; empty where the clip is large or cannot be written as mp4."""
    from .writer import VideoWriter

    if video.frames.nbytes > _LARGEST_PLAYED or len(video) == 1:
        return ""
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            with VideoWriter(path, fps=video.fps, size=video.size) as writer:
                writer.write(video.frames)
            source = data_url(path.read_bytes(), "video/mp4")
    except (VideogenError, OSError):
        return ""
    return _video_element(source)


def _sheet(video: Video) -> str:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(video.contact_sheet(columns=4, count=8)))
    image.thumbnail((_SHEET_WIDTH, _SHEET_WIDTH))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"<img alt='contact sheet' src='{data_url(file.getvalue(), 'image/png')}'>"
