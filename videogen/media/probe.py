"""Probing of video files: size, length and rate from the header, checked before anything is decoded.

A name is always a local path (never a protocol, list or device), and decompression bombs are refused here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from videogen.core.errors import MediaError

from .formats import DEMUXERS, explain_unreadable

_STRICT = {"err_detect": "explode"}


@dataclass(frozen=True)
class MediaLimits:
    """Largest clip that is decoded. side_px: of a frame's sides; decoded_bytes: of the entire clip as RGB."""

    side_px: int = 16384
    decoded_bytes: int = 16 << 30


@dataclass(frozen=True)
class MediaInfo:
    """Contents of a header. Sizes are as stored, except that a rotation given in the header (`rotation`, clockwise
    degrees) is applied; a rotation given only in the frames is applied by `read_video`. frames: None where the file
    does not declare a count."""

    width: int
    height: int
    frames: int | None
    fps: Fraction
    duration_s: float | None
    codec: str
    pixel_format: str
    rotation: int
    has_alpha: bool


@contextmanager
def open_container(
    path: str | os.PathLike[str], options: dict[str, str] | None = None, *, demuxers: str = DEMUXERS
) -> Iterator[Any]:
    """A PyAV container of a local file; MediaError where it is not a readable video. demuxers: those that may read
    it."""
    import av

    local = Path(path).absolute()
    if not local.is_file():
        raise MediaError(f"{path} is not a file; give the path of a video on this machine")
    guard = {"protocol_whitelist": "file", "format_whitelist": demuxers, **(options or {})}
    try:
        container = av.open(f"file:{local}", options=guard)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path} is not a readable video ({_reason(error)}); {explain_unreadable(path)}") from error
    try:
        yield container
    finally:
        container.close()


def probe(path: str | os.PathLike[str], limits: MediaLimits | None = None) -> MediaInfo:
    """Read the header of a video file. MediaError where it is damaged, has no video stream, or exceeds the limits."""
    with open_container(path, _STRICT) as container:
        info = describe(container, path)
    check_limits(info, limits or MediaLimits(), path)
    return info


def describe(container: Any, path: str | os.PathLike[str]) -> MediaInfo:
    if not container.streams.video:
        raise MediaError(f"{path} has no video stream")
    stream = container.streams.video[0]
    context = stream.codec_context
    if not context.width or not context.height:
        raise MediaError(f"{path} does not declare the size of its frames; it is damaged")
    duration = stream.duration * stream.time_base if stream.duration else _tagged_duration(stream)
    if duration is None and container.duration:
        duration = Fraction(container.duration, 1_000_000)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    rotation = _rotation(stream)
    width, height = (context.height, context.width) if rotation % 180 else (context.width, context.height)
    frames = stream.frames or (round(duration * rate) if duration else None)
    return MediaInfo(
        width, height, frames, Fraction(rate), float(duration) if duration else None, context.name,
        str(context.pix_fmt), rotation, _has_alpha(stream),
    )  # fmt: skip


def check_limits(
    info: MediaInfo, limits: MediaLimits, path: str | os.PathLike[str], most_frames: int | None = None
) -> None:
    """MediaError where a file exceeds the limits. most_frames: how many are read (None: all)."""
    frames = info.frames or 1 if most_frames is None else min(info.frames or most_frames, most_frames)
    size = info.width * info.height * 3 * frames
    if max(info.width, info.height) > limits.side_px or size > limits.decoded_bytes:
        raise MediaError(
            f"{path} would decode to {info.width}x{info.height}, {frames} frames, {size / 2**30:.1f} GiB; "
            f"the limit is {limits.side_px} px per side and {limits.decoded_bytes / 2**30:.0f} GiB: cut or scale it "
            "first"
        )


def _tagged_duration(stream: Any) -> Fraction | None:
    """The duration that Matroska's muxers store for each track, such as `00:00:03.000000000`, in seconds."""
    text = {key.lower(): value for key, value in stream.metadata.items()}.get("duration", "")
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None


def _rotation(stream: Any) -> int:
    """Clockwise degrees by which frames are rotated for display, from the container's header; 0 where it has none."""
    tag = stream.metadata.get("rotate")
    return int(tag) % 360 if tag and tag.lstrip("-").isdigit() else 0


def _has_alpha(stream: Any) -> bool:
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return (
        tags.get("alpha_mode") == "1"
        or "a" in str(stream.codec_context.pix_fmt or "").replace("gray", "")[:5].split("p")[0]
    )


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)[:160]
