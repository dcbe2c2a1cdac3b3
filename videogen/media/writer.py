"""Writing clips, frame by frame, into a file that is whole or absent.

H.264 mp4, VP9 webm, GIF, or a folder of PNGs, by the name's suffix. yuv420p needs even sides: an odd size is written
as yuv444p, never rescaled. Colours are converted and tagged as bt709.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from videogen.core.errors import InputError, MediaError
from videogen.core.files import atomic_path, check_output

from .metadata import FOLDER_FILE, TAG, encode
from .video import check_frames

SUFFIXES = (".mp4", ".webm", ".gif", "")


class _Sink(Protocol):
    def add(self, frame: np.ndarray) -> None: ...

    def close(self) -> None: ...


class VideoWriter:
    """A streaming writer; use it in a `with` block.

    size: (width, height) in px; quality: CRF, lower is better; manifest: stored in the file. On an error in the block
    nothing is left behind. Raises InputError for what cannot be written, MediaError where the encoder fails.
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
        self.path = check_suffix(path)
        check_output(self.path, overwrite)
        if quality is not None and not 0 <= quality <= 63:
            raise InputError(f"quality={quality} must be from 0 (best) to 63")
        self.fps, self.size, self.quality, self.manifest = Fraction(fps).limit_denominator(1001), size, quality, manifest
        self._overwrite, self._stack, self._count = overwrite, ExitStack(), 0
        self._sink: _Sink | None = None

    def __enter__(self) -> VideoWriter:
        partial = self._stack.enter_context(atomic_path(self.path, self._overwrite))
        kinds: dict[str, Callable[[Path, VideoWriter], _Sink]] = {".gif": _GifSink, "": _PngSink}
        self._sink = kinds.get(self.path.suffix.lower(), _CodecSink)(partial, self)
        return self

    def write(self, frames: np.ndarray) -> None:
        """Append frames, uint8 [n, height, width, 3]."""
        check_frames(frames)
        if frames.shape[1:3] != (self.size[1], self.size[0]):
            raise InputError(f"frames are {frames.shape[2]}x{frames.shape[1]}, the video is {self.size[0]}x{self.size[1]}")
        if self._sink is None:
            raise InputError("the writer is not open; use it in a 'with' block")
        for frame in frames:
            self._sink.add(np.ascontiguousarray(frame))
        self._count += len(frames)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None and self._count == 0:
                raise InputError("no frame was written; a video needs at least one")
            if self._sink is not None and kind is None:
                self._sink.close()
            if kind is not None:
                self._stack.__exit__(kind, error, traceback)


def check_suffix(path: str | os.PathLike[str]) -> Path:
    """The path, if its suffix is one that can be written."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write {path.suffix!r} files; use .mp4, .webm, .gif, or a name without suffix for a folder of PNGs")
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
        self._stream.time_base = 1 / writer.fps
        context = self._stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1  # limited, bt709
        self._index = 0

    def add(self, frame: np.ndarray) -> None:
        import av
        from av.video.reformatter import ColorRange, Colorspace

        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts, picture.time_base = self._index, self._stream.time_base
        self._index += 1
        self._send(picture)

    def close(self) -> None:
        self._send(None)
        self._container.close()

    def _send(self, picture: Any) -> None:
        import av

        try:
            for packet in self._stream.encode(picture):
                self._container.mux(packet)
        except av.FFmpegError as error:
            raise MediaError(f"the encoder failed at frame {self._index}: {error}; is the disk full?") from error


class _GifSink:
    """GIF through Pillow: at most 256 colours a frame, and times in hundredths of a second."""

    def __init__(self, partial: Path, writer: VideoWriter) -> None:
        self._partial, self._writer = partial, writer
        self._frames: list[Any] = []

    def add(self, frame: np.ndarray) -> None:
        from PIL import Image

        self._frames.append(Image.fromarray(frame).quantize(256))

    def close(self) -> None:
        comment = encode(self._writer.manifest).encode() if self._writer.manifest is not None else b""
        times = [round(100 * i / self._writer.fps) for i in range(len(self._frames) + 1)]
        durations = [10 * max(1, b - a) for a, b in pairwise(times)]
        self._frames[0].save(
            self._partial, save_all=True, append_images=self._frames[1:], duration=durations, loop=0, comment=comment
        )


class _PngSink:
    """A folder of PNGs, frame_00000.png on, with the manifest beside them."""

    def __init__(self, partial: Path, writer: VideoWriter) -> None:
        partial.mkdir()
        self._partial, self._index = partial, 0
        if writer.manifest is not None:
            (partial / FOLDER_FILE).write_text(encode(writer.manifest), encoding="utf-8")

    def add(self, frame: np.ndarray) -> None:
        from PIL import Image

        Image.fromarray(frame).save(self._partial / f"frame_{self._index:05d}.png")
        self._index += 1

    def close(self) -> None:
        pass
