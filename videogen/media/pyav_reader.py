"""Reading of video files with PyAV: strict, upright, with exact times.

A damaged file is an error, never a shorter or wrong clip. WebM has no checksums: only the duration is checked, to
within a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videogen.core.errors import MediaError
from videogen.core.rates import exact_fps

from .excerpt import Budget, Excerpt
from .file_notes import collect_notes
from .metadata import read_manifest
from .orientation import UPRIGHT, Orientation, from_display_matrix
from .probe import MediaInfo, MediaLimits, check_limits, describe, open_container
from .video import Video, visible_alpha

STRICT = {"err_detect": "explode", "fflags": "+discardcorrupt"}
_DURATION_TOLERANCE_S = 1.0
_SAME_RATE = 0.05


def read_pyav(path: Path, part: Excerpt, limits: MediaLimits) -> Video:
    """The requested part of a video file. MediaError where it is damaged, empty or beyond the limits."""
    images: list[np.ndarray] = []
    alphas: list[np.ndarray] = []
    times: list[float] = []
    interlaced, budget = False, Budget(path, limits)
    with open_container(path, STRICT) as container:
        info = describe(container, path)
        check_limits(info, limits, path, part.count(info.fps))
        packets, converter = _Packets(container, path, info), FrameConverter(info.has_alpha)
        for index, frame in enumerate(packets.decode()):
            time = float(frame.time) if frame.time is not None else float(index / info.fps)
            if index < part.start:
                continue
            if part.is_complete(times):
                break
            image, alpha = converter.convert(frame)
            budget.spend(image)
            images.append(image)
            if alpha is not None:
                alphas.append(alpha)
            times.append(time)
            interlaced |= bool(getattr(frame, "interlaced_frame", False))
        else:
            packets.check_complete()
        notes = collect_notes(container, interlaced)
    if not images:
        raise MediaError(f"{path} has no frame from {part.start} on ({packets.decoded} in all)")
    if len({image.shape for image in images}) > 1:
        raise MediaError(f"{path} changes its frame size within the clip; convert it to one size first")
    alpha = np.stack(alphas) if len(alphas) == len(images) else None
    fps = find_rate(info.fps, np.asarray(times))
    return Video(np.stack(images), fps, read_manifest(path), np.asarray(times), visible_alpha(alpha), notes)


def find_rate(declared: Fraction, times_s: np.ndarray) -> Fraction:
    """The declared rate, unless all frames are evenly spaced at another one, as in AVI files with reordered frames."""
    steps = np.diff(times_s)
    if not len(steps) or steps.min() <= 0 or np.ptp(steps) > _SAME_RATE * steps.mean():
        return declared
    found = exact_fps(1 / steps.mean())
    return declared if abs(found / declared - 1) < _SAME_RATE else found


@dataclass
class _Packets:
    """The packets of a file, and whether it is complete. All streams are demuxed, since sound may outlast
    the frames, and then the container's duration is that of the sound.

    decoded, coded: frames and packets of the video stream so far; hidden: packets that an edit list hides; ends_s:
    where the last packet of each stream ends, from the start of the file.
    """

    container: Any
    path: Path
    info: MediaInfo
    decoded: int = 0
    coded: int = 0
    hidden: int = 0
    ends_s: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stream = self.container.streams.video[0]
        self._start_s = (self.container.start_time or 0) / 1_000_000

    def decode(self) -> Iterator[Any]:
        """Frames in order; a decoding error or a frame marked as corrupt is a MediaError."""
        import av

        self.stream.thread_type = "AUTO"
        context = _alpha_decoder(self.stream) if self.info.has_alpha else None
        try:
            for packet in self.container.demux():
                self._count(packet)
                if packet.stream_index != self.stream.index:
                    continue
                for frame in context.decode(packet) if context else packet.decode():
                    if getattr(frame, "is_corrupt", False):
                        raise MediaError(f"{self.path} is damaged at {frame.time} s")
                    self.decoded += 1
                    yield frame
        except (av.FFmpegError, ValueError, OSError) as error:
            if isinstance(error, MediaError):
                raise
            raise MediaError(
                f"{self.path} cannot be decoded ({str(error)[:160]}); it is truncated or damaged"
            ) from error

    def _count(self, packet: Any) -> None:
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:  # the mark at the end of a stream
            return
        end = float((time + (packet.duration or 0)) * packet.time_base) - self._start_s
        self.ends_s[packet.stream_index] = max(end, self.ends_s.get(packet.stream_index, 0.0))
        if packet.stream_index == self.stream.index:
            self.coded += 1
            self.hidden += packet.is_discard

    def check_complete(self) -> None:
        """MediaError where the header declares more frames or time than there were in the file."""
        end_s, declared = self.ends_s.get(self.stream.index, 0.0), self.stream.frames
        if declared:
            if "mp4" in self.container.format.name:  # edit lists shorten its index
                declared = min(declared, len(self.stream.index_entries) or declared)
                missing = self.coded < declared
            else:
                missing = self.coded < declared and self._lacks(end_s, 1.5 / float(self.info.fps))
            if missing or self.decoded < self.coded - self.hidden:
                raise MediaError(f"{self.path} ends after {self.decoded} of {declared} frames; {_DAMAGED}")
        elif self._lacks(end_s, max(_DURATION_TOLERANCE_S, 2 / float(self.info.fps))):
            raise MediaError(f"{self.path} ends at {end_s:.2f} of {self._duration_s():.2f} s; {_DAMAGED}")

    def _lacks(self, end_s: float, tolerance_s: float) -> bool:
        """Whether both the video stream and the file end early."""
        file_s = (self.container.duration or 0) / 1_000_000
        return (
            end_s < self._duration_s() - tolerance_s and max(self.ends_s.values(), default=0.0) < file_s - tolerance_s
        )

    def _duration_s(self) -> float:
        """The declared duration of the video stream, or of the file."""
        return self.info.duration_s or 0.0


_DAMAGED = "it is truncated or damaged"


def _alpha_decoder(stream: Any) -> Any:
    """The libvpx decoder, which outputs the alpha plane that FFmpeg's native VP8 and VP9 decoders drop."""
    import av

    name = {"vp9": "libvpx-vp9", "vp8": "libvpx"}.get(stream.codec_context.name)
    if name is None:
        return None
    context = av.CodecContext.create(name, "r")
    context.extradata = stream.codec_context.extradata
    return context


class FrameConverter:
    """Frames of one file as arrays, upright as the file specifies.

    One converter for all of them: a frame that converts itself starts threads for that. Side data is read at key frames
    alone, since a frame whose side data was read stays in memory until the next garbage collection.
    """

    def __init__(self, has_alpha: bool) -> None:
        from av.video.reformatter import VideoReformatter

        self._has_alpha, self._reformatter = has_alpha, VideoReformatter()
        self._orientation: Orientation | None = None

    def convert(self, frame: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """RGB [h, w, 3] and alpha [h, w]; None where the file or the frame has no alpha."""
        if self._orientation is None or frame.key_frame:
            self._orientation = _read_orientation(frame)
        has_alpha = self._has_alpha and "a" in frame.format.name
        pixels = self._reformatter.reformat(frame, format="rgba" if has_alpha else "rgb24").to_ndarray()
        pixels = self._orientation.apply(pixels)
        image = np.ascontiguousarray(pixels[..., :3])
        return image, np.ascontiguousarray(pixels[..., 3]) if has_alpha else None


def _read_orientation(frame: Any) -> Orientation:
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    return UPRIGHT if matrix is None else from_display_matrix(bytes(matrix))
