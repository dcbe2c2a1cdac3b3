"""Writing clips, frame by frame, into a file that is whole or absent.

H.264 mp4, VP9 webm, GIF, or a folder of PNGs, by the name's suffix. yuv420p needs even sides: an odd size is written
as yuv444p, never rescaled. Colours are converted and tagged as bt709.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from videogen.core.errors import InputError, MediaError
from videogen.core.files import atomic_path, check_output

from .metadata import TAG, encode, write_folder_file
from .video import check_frames

#: suffix -> (largest CRF, most frames a second); None: it has no quality setting
KINDS: dict[str, tuple[int | None, int]] = {".mp4": (51, 1000), ".webm": (63, 1000), ".gif": (None, 100), "": (None, 1000)}
_SLOWEST_FPS = 0.01


class _Sink(Protocol):
    def add(self, frame: np.ndarray) -> None: ...

    def finish(self) -> None:
        """Write what is held back; the file is complete after."""
        ...

    def close(self) -> None:
        """Let go of the file, complete or not."""
        ...


class VideoWriter:
    """A streaming writer; use it in a `with` block.

    size: (width, height) in px; quality: CRF, lower is better; manifest: stored in the file. On an error in the block
    nothing is left behind. Raises InputError for what cannot be written, MediaError where the encoder or the disk fails.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fps: Fraction | float,
        size: tuple[int, int],
        quality: int | None = None,
        overwrite: bool = False,
        manifest: dict[str, Any] | None = None,
    ) -> None:
        self.path = check_target(path, fps=float(fps), quality=quality)
        check_output(self.path, overwrite)
        self.fps, self.size, self.quality, self.manifest = Fraction(fps).limit_denominator(1001), size, quality, manifest
        self._overwrite, self._stack, self._count = overwrite, ExitStack(), 0
        self._sink: _Sink | None = None

    def __enter__(self) -> VideoWriter:
        partial = self._stack.enter_context(atomic_path(self.path, self._overwrite))
        kinds: dict[str, Callable[[Path, VideoWriter], _Sink]] = {".gif": _GifSink, "": _PngSink}
        try:
            self._sink = kinds.get(self.path.suffix.lower(), _CodecSink)(partial, self)
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def write(self, frames: np.ndarray) -> None:
        """Append frames, uint8 [n, height, width, 3]."""
        check_frames(frames)
        if frames.shape[1:3] != (self.size[1], self.size[0]):
            raise InputError(f"frames are {frames.shape[2]}x{frames.shape[1]}, the video is {self.size[0]}x{self.size[1]}")
        if self._sink is None:
            raise InputError("the writer is not open; use it in a 'with' block")
        for frame in frames:
            with _told(self.path, self._count):
                self._sink.add(np.ascontiguousarray(frame))
            self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as failure:
            self._abandon()
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        if error is not None:
            self._abandon()
        self._stack.__exit__(kind, error, traceback)

    def _finish(self) -> None:
        if self._count == 0:
            raise InputError("no frame was written; a video needs at least one")
        assert self._sink is not None
        with _told(self.path, self._count):
            self._sink.finish()
            self._sink.close()

    def _abandon(self) -> None:
        """After a failure the file goes anyway, and the first error is the one to tell."""
        with suppress(Exception):
            if self._sink is not None:
                self._sink.close()


class _told:
    """An error of the encoder or the disk becomes a MediaError that names the file and the frame."""

    def __init__(self, path: Path, frame: int) -> None:
        self._path, self._frame = path, frame

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        import av

        if isinstance(error, av.FFmpegError | OSError | ValueError) and not isinstance(error, InputError | MediaError):
            reason = getattr(error, "strerror", None) or error
            failure = MediaError(f"writing {self._path} failed at frame {self._frame}: {reason}; is the disk full?")
            failure.exit_code = 1  # no mistake of the user's
            raise failure from error


def check_target(path: str | os.PathLike[str], fps: float | None = None, quality: int | None = None) -> Path:
    """The path, if its kind of file can be written with these settings; InputError otherwise."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in KINDS or path.name.lower() in KINDS:
        kinds = ".mp4, .webm, .gif, or a name without suffix for a folder of PNGs"
        raise InputError(f"cannot write {suffix or path.name!r} files; use {kinds}")
    worst, fastest = KINDS[suffix]
    if quality is not None and (worst is None or not 0 <= quality <= worst):
        rule = f"must be from 0 (best) to {worst} for {suffix}" if worst else f"is not for {suffix or 'PNG'} files; leave it out"
        raise InputError(f"quality={quality} {rule}")
    if fps is not None and not _SLOWEST_FPS <= fps <= fastest:
        raise InputError(f"fps={fps:g} must be from {_SLOWEST_FPS} to {fastest} for {suffix or 'PNG'} files")
    return path


class _CodecSink:
    """mp4 and webm through PyAV."""

    def __init__(self, partial: Path, writer: VideoWriter) -> None:
        import av

        webm = partial.suffix.lower() == ".webm"
        width, height = writer.size
        crf = str(writer.quality if writer.quality is not None else (28 if webm else 16))
        flags = {} if webm else {"movflags": "use_metadata_tags+faststart"}
        self._container = av.open(str(partial), "w", options=flags)
        if writer.manifest is not None:
            self._container.metadata[TAG] = encode(writer.manifest)
        codec_options = {"crf": crf, "b:v": "0", "row-mt": "1"} if webm else {"crf": crf, "preset": "medium"}
        self._stream: Any = self._container.add_stream("libvpx-vp9" if webm else "libx264", rate=writer.fps, options=codec_options)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
        self._tick = 1 / writer.fps  # ours: the muxer changes its stream's time base when it writes the header
        self._stream.time_base = self._tick
        context = self._stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1  # limited, bt709
        self._index = 0

    def add(self, frame: np.ndarray) -> None:
        import av
        from av.video.reformatter import ColorRange, Colorspace

        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts, picture.time_base = self._index, self._tick
        self._index += 1
        self._send(picture)

    def finish(self) -> None:
        self._send(None)

    def close(self) -> None:
        self._container.close()

    def _send(self, picture: Any) -> None:
        for packet in self._stream.encode(picture):
            self._container.mux(packet)


class _GifSink:
    """GIF through Pillow: at most 256 colours a frame, and times in hundredths of a second."""

    def __init__(self, partial: Path, writer: VideoWriter) -> None:
        self._partial, self._writer = partial, writer
        self._frames: list[Any] = []

    def add(self, frame: np.ndarray) -> None:
        from PIL import Image

        picture = Image.fromarray(frame).quantize(256)
        if len(self._frames) % 2:  # Pillow joins equal neighbours into one frame: one colour a level off keeps them apart
            palette = picture.getpalette() or [0, 0, 0]
            palette[0] ^= 1
            picture.putpalette(palette)
        self._frames.append(picture)

    def finish(self) -> None:
        comment = encode(self._writer.manifest).encode() if self._writer.manifest is not None else b""
        times = [round(100 * i / self._writer.fps) for i in range(len(self._frames) + 1)]
        durations = [10 * max(1, b - a) for a, b in pairwise(times)]
        self._frames[0].save(
            self._partial, save_all=True, append_images=self._frames[1:], duration=durations, loop=0, comment=comment
        )

    def close(self) -> None:
        self._frames.clear()


class _PngSink:
    """A folder of PNGs, frame_00000.png on, with rate and manifest beside them."""

    def __init__(self, partial: Path, writer: VideoWriter) -> None:
        partial.mkdir()
        self._partial, self._index = partial, 0
        write_folder_file(partial, writer.fps, writer.manifest)

    def add(self, frame: np.ndarray) -> None:
        from PIL import Image

        Image.fromarray(frame).save(self._partial / f"frame_{self._index:05d}.png")
        self._index += 1

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass
