"""Size, length and rate of an image or clip, from a file's header or from an object in memory, before it is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError, MediaError

from .formats import image_format
from .image_file import open_image
from .orientation import from_exif
from .probe import MediaLimits, check_limits, describe, open_container
from .reader import read_video
from .video import Video

_ORIENTATION = 0x0112  # of EXIF
_BYTES = (str, bytes, bytearray, memoryview)  # sequences that are not of images


@dataclass(frozen=True)
class SourceInfo:
    """width, height: upright, in px; frames: 1 for an image; fps: None where it has none; has_audio: whether a file has
    an audio track."""

    width: int
    height: int
    frames: int = 1
    fps: Fraction | None = None
    has_audio: bool = False

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


def probe_source(source: Any, name: str = "image") -> SourceInfo:
    """What `media.conditions` would read. name: of the argument, for messages.

    MediaError for a file that is missing, damaged or not an image or video; InputError for other objects.
    """
    if isinstance(source, str | os.PathLike):
        return _probe_file(Path(source), name)
    if isinstance(source, Video):
        return SourceInfo(*source.size, len(source), Fraction(source.fps), source.audio is not None)
    if hasattr(source, "getexif") and hasattr(source, "convert"):
        turned = from_exif(source.getexif().get(_ORIENTATION)).transpose
        return SourceInfo(*(source.size[::-1] if turned else source.size))
    shape = tuple(getattr(source, "shape", ()))
    if len(shape) in (2, 3, 4):
        return _from_shape(shape, channels_first=hasattr(source, "detach"), is_mask=name == "mask")
    if isinstance(source, Sequence) and not isinstance(source, _BYTES) and len(source) > 0:
        first = probe_source(source[0], f"{name}[0]")
        return SourceInfo(first.width, first.height, len(source))
    raise InputError(
        f"{name}={type(source).__name__} is not an image or a clip; give a path, a Video, a Pillow image, an array, a "
        "tensor, or a list of images"
    )


def _from_shape(shape: tuple[int, ...], *, channels_first: bool, is_mask: bool) -> SourceInfo:
    """Of an array [height, width], [height, width, channels] or [frame, height, width, channels], or of a tensor with
    channels before height; a mask may be [frame, height, width]."""
    if channels_first and len(shape) > 2:
        shape = (*shape[:-3], shape[-2], shape[-1], shape[-3])
    if len(shape) == 2 or (len(shape) == 3 and not (is_mask and shape[-1] > 4)):
        return SourceInfo(shape[1], shape[0])
    return SourceInfo(shape[2], shape[1], shape[0])


def _probe_file(path: Path, name: str) -> SourceInfo:
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:
        raise MediaError(f"{name}={str(path)[:80]!r} is not a file name ({error})") from error
    if not exists:
        raise MediaError(f"{name}={str(path)!r} does not exist; give the path of a file on this machine")
    if is_folder:
        return _measure(path)
    if not path.is_file():
        raise MediaError(f"{name}={str(path)!r} is not a file; give the path of an image or a video on this machine")
    if image_format(path) is None:
        return _probe_video(path)
    with open_image(path) as file:
        if file.count > 1:
            return _measure(path)
        upright = next(iter(file.decode())).pixels
    return SourceInfo(upright.shape[1], upright.shape[0])


def _probe_video(path: Path) -> SourceInfo:
    with open_container(path) as container:
        info = describe(container, path)
        has_audio = bool(container.streams.audio)
    check_limits(info, MediaLimits(), path, most_frames=1)
    if info.frames is None:
        return _measure(path, has_audio)
    return SourceInfo(info.width, info.height, info.frames, info.fps, has_audio)


def _measure(path: Path, has_audio: bool = False) -> SourceInfo:
    """By reading all of it, where no header says how long it is."""
    video = read_video(path)
    return SourceInfo(*video.size, len(video), Fraction(video.fps), has_audio)
