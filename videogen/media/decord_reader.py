"""Reading of video files with decord, optional: fast random access, for the files that it reads as PyAV does.

decord shows frames that edit lists hide, ignores rotation and alpha, and converts 10-bit and interlaced frames
differently; of MPEG transport streams it reads other frames. So only progressive 8-bit video in MP4 and Matroska files
is accepted, times come from the packets, and one frame is compared with PyAV's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from videogen.core.errors import InputError, MediaError

from .excerpt import Excerpt
from .file_notes import collect_notes
from .metadata import read_manifest
from .probe import MediaLimits, check_limits, describe, open_container
from .pyav_reader import STRICT, FrameConverter
from .video import Video

_DEMUXERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_PIXEL_FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuv444p")
_LARGEST_MEAN_DIFFERENCE = 1.0  # of 255; other frames of a moving clip differ by several


def read_decord(path: Path, part: Excerpt, limits: MediaLimits) -> Video:
    """The requested part of a video file. InputError where decord is missing or would read the file differently."""
    decord = _import()
    with open_container(path, STRICT) as container:
        info = describe(container, path)
        check_limits(info, limits, path, part.count(info.fps))
        pts, time_base, hidden = _packet_times(container)
        notes = collect_notes(container, interlaced=False)
        odd = container.format.name not in _DEMUXERS or info.pixel_format not in _PIXEL_FORMATS or info.has_alpha
    if odd or hidden:
        raise _disagreement(path, "an edit list" if hidden else f"{info.codec}, {info.pixel_format}")
    times = np.asarray([float(p * time_base) for p in pts])
    stop = len(pts) if part.frames is None else min(len(pts), part.start + part.frames)
    if part.seconds is not None and part.start < len(pts):
        stop = min(stop, int(np.searchsorted(times, times[part.start] + part.seconds, "right")) + 1)
    if part.start >= stop:
        raise MediaError(f"{path} has no frame from {part.start} on ({len(pts)} in all)")
    try:
        reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0))
        found = len(reader)
        frames = reader.get_batch(list(range(part.start, min(stop, found)))).asnumpy()
    except decord.DECORDError as error:
        raise MediaError(f"{path} cannot be decoded by decord; use backend='pyav' for the reason") from error
    if found != len(pts):
        raise _disagreement(path, f"{found} frames instead of {len(pts)}")
    _compare(path, pts[part.start], frames[0])
    return Video(frames, info.fps, read_manifest(path), times[part.start : stop], None, notes)


def _import() -> Any:
    try:
        import decord
    except ModuleNotFoundError as error:
        raise InputError("backend='decord' is not installed; install it or use backend='pyav'") from error
    except Exception as error:  # an import may fail in any way
        raise InputError(
            f"backend='decord' is installed, but its import fails ({type(error).__name__}: {error}); install it "
            "again or use backend='pyav'"
        ) from error
    return decord


def _packet_times(container: Any) -> tuple[list[int], Any, bool]:
    """The time stamps of all frames in order, their unit in seconds, and whether the file hides any."""
    stream = container.streams.video[0]
    packets = [packet for packet in container.demux(stream) if packet.size]
    stamped = [packet.pts for packet in packets if packet.pts is not None]
    return sorted(stamped), stream.time_base, len(stamped) < len(packets) or any(p.is_discard for p in packets)


def _compare(path: Path, pts: int, image: np.ndarray) -> None:
    """InputError where PyAV decodes another image, or an interlaced one, at this time stamp."""
    with open_container(path, STRICT) as container:
        stream = container.streams.video[0]
        container.seek(pts, stream=stream)
        frame = next((frame for frame in container.decode(stream) if frame.pts is not None and frame.pts >= pts), None)
        if frame is None or frame.pts != pts:
            raise _disagreement(path, "its time stamps cannot be sought")
        expected, _ = FrameConverter(has_alpha=False).convert(frame)
        if frame.interlaced_frame:
            raise _disagreement(path, "interlaced frames")
    if expected.shape != image.shape or np.abs(expected.astype(int) - image).mean() > _LARGEST_MEAN_DIFFERENCE:
        raise _disagreement(path, "other pixels")


def _disagreement(path: Path, reason: str) -> InputError:
    return InputError(f"decord would read {path} differently ({reason}); use backend='pyav'")
