"""Reading of clips: video files, still and animated images, folders of images. `formats` lists what is read.

A damaged file is an error, never a shorter or wrong clip. Frames are upright, times exact, 10-bit and 16-bit values are
converted to 8-bit RGB, alpha is returned separately, and `Video.notes` says what the frames do not show.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from videogen.core.errors import InputError, MediaError

from .decord_reader import read_decord
from .excerpt import Excerpt
from .formats import image_format
from .images import read_folder, read_images
from .probe import MediaLimits
from .pyav_reader import read_pyav
from .video import Video

BACKENDS: dict[str, Callable[[Path, Excerpt, MediaLimits], Video]] = {
    "auto": read_pyav,
    "pyav": read_pyav,
    "decord": read_decord,
}


def read_video(
    path: str | os.PathLike[str],
    *,
    start: int = 0,
    frames: int | None = None,
    seconds: float | None = None,
    limits: MediaLimits | None = None,
    backend: str = "auto",
) -> Video:
    """Read a clip; `frames` frames from `start` (None: to the end).

    seconds: only the frames of so many seconds from `start`, and the next one. Only what is read takes memory, and only
    that counts for the limits. backend, of video files: `pyav`; `decord` (optional, fast random access; refused for
    files that it would read differently); `auto` is `pyav`. Raises MediaError or InputError.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend={backend!r} is unknown; use {', '.join(BACKENDS)}")
    part, path, limits = Excerpt(start, frames, seconds), Path(path), limits or MediaLimits()
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise MediaError(f"{str(path)[:80]!r} is not a file name ({error})") from error
    if not there:
        raise MediaError(f"{path} does not exist; give the path of a video on this machine")
    if path.is_dir():
        return read_folder(path, part, limits)
    form = image_format(path)
    return BACKENDS[backend](path, part, limits) if form is None else read_images(path, form, part, limits)
