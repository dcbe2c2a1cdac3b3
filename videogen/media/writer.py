"""Streaming video writer: frame by frame into a file that is complete or absent.

H.264 mp4 and mkv, VP9 webm, GIF, or a folder of PNGs, by the suffix of the name. Codecs get 4:2:0 (yuv420p), the
subsampling that all players decode. In H.264 it needs even sides: an odd one is made even by repeating the last column
or row, which is logged; frames are never rescaled. Colours are converted to and tagged as bt709. Memory does not grow
with the clip, except for the container's index of some bytes per frame.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from videogen.core.checks import check_count
from videogen.core.errors import InputError, MediaError
from videogen.core.files import atomic_path, check_output
from videogen.core.logs import log_note
from videogen.core.rates import exact_fps

from .metadata import container_options, encode, retag, set_comment, write_folder_file
from .video import check_frames

if TYPE_CHECKING:
    from .audio import Audio

#: suffix -> (largest CRF, most frames per second); None: no quality setting. A GIF counts in hundredths of a second,
#: and players show a frame of one hundredth for ten.
KINDS: dict[str, tuple[int | None, int]] = {
    ".mp4": (51, 1000),
    ".mkv": (51, 1000),
    ".webm": (63, 1000),
    ".gif": (None, 50),
    "": (None, 1000),
}
WITH_AUDIO = (".mp4", ".mkv", ".webm")
_SLOWEST_FPS = 0.01


class _Sink(Protocol):
    def add(self, frame: np.ndarray) -> None: ...

    def finish(self) -> None:
        """Write all buffered frames; the file is complete afterwards."""
        ...

    def close(self) -> None:
        """Close the file, complete or not."""
        ...


class VideoWriter:
    """A streaming writer; use it in a `with` block.

    size: (width, height) in px; quality: CRF, lower is better; manifest: stored in the file. `writer.manifest` may be
    set or changed until the block ends: the file gets its final value. `writer.notes`: how the file differs from the
    frames, such as even sides; each is logged too. audio: written with the frames, where the format has sound. within:
    see `core.files.atomic_path`. An error in the block leaves no file behind. Raises InputError for frames or settings
    that cannot be written, MediaError where the encoder or the disk fails.
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
        within: Path | None = None,
        audio: Audio | None = None,
    ) -> None:
        self.path = check_target(path, fps=float(fps), quality=quality)
        check_output(self.path, overwrite)
        self.fps, self.size, self.quality, self.manifest = exact_fps(fps), size, quality, manifest
        self.notes: list[str] = []
        self._overwrite, self._within, self._stack, self._count = overwrite, within, ExitStack(), 0
        self._audio = audio
        self._sink: _Sink | None = None

    def __enter__(self) -> VideoWriter:
        partial = self._partial = self._stack.enter_context(atomic_path(self.path, self._overwrite, self._within))
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
            raise InputError(
                f"frames are {frames.shape[2]}x{frames.shape[1]}, the video is {self.size[0]}x{self.size[1]}"
            )
        if self._sink is None:
            raise InputError("the writer is not open; use it in a 'with' block")
        for frame in frames:
            with _MediaErrors(self.path, self._count):
                self._sink.add(np.ascontiguousarray(frame))
            self._count += 1

    def note(self, text: str) -> None:
        """Add to `notes`, and to the log."""
        self.notes.append(text)
        log_note("%s", text)

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
        with _MediaErrors(self.path, self._count):
            self._sink.finish()
            self._sink.close()
        if self._audio is not None:
            self._add_audio(self._audio)

    def _add_audio(self, audio: Audio) -> None:
        from .audio import add_audio

        if self.path.suffix.lower() not in WITH_AUDIO:
            kind = self.path.suffix or "a folder of PNGs"
            self.note(f"{self.path.name} is silent: {kind} has no sound; write {' or '.join(WITH_AUDIO)} to have it")
            return
        add_audio(self._partial, audio)

    def _abandon(self) -> None:
        """Close after a failure: the file is removed anyway, and the first error is the one to report."""
        with suppress(Exception):
            if self._sink is not None:
                self._sink.close()


class _MediaErrors:
    """Context that turns errors of the encoder or the disk into a MediaError that names the file and the frame."""

    def __init__(self, path: Path, frame: int) -> None:
        self._path, self._frame = path, frame

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import av

        if isinstance(error, av.FFmpegError | OSError | ValueError) and not isinstance(error, InputError | MediaError):
            reason = getattr(error, "strerror", None) or error
            failure = MediaError(f"writing {self._path} failed at frame {self._frame}: {reason}; is the disk full?")
            failure.exit_code = 1  # not the user's mistake
            raise failure from error


def check_target(path: str | os.PathLike[str], fps: float | None = None, quality: int | None = None) -> Path:
    """The path, if a file of this kind can be written with these settings; InputError otherwise."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in KINDS or path.name.lower() in KINDS:
        kinds = ".mp4, .mkv, .webm, .gif, or a name without suffix for a folder of PNGs"
        raise InputError(f"cannot write {suffix or path.name!r} files; use {kinds}")
    worst, fastest = KINDS[suffix]
    if quality is not None:
        check_count("quality", quality, 0)
    if quality is not None and (worst is None or not 0 <= quality <= worst):
        rule = (
            f"must be from 0 (best) to {worst} for {suffix}"
            if worst
            else f"does not apply to {suffix or 'PNG'} files; leave it out"
        )
        raise InputError(f"quality={quality} {rule}")
    if fps is not None and not _SLOWEST_FPS <= fps <= fastest:
        reason = "; players show a faster GIF slowly: use .mp4, or fewer frames per second" if suffix == ".gif" else ""
        raise InputError(f"fps={fps:g} must be from {_SLOWEST_FPS} to {fastest} for {suffix or 'PNG'} files{reason}")
    return path


def timing_notes(path: Path, fps: float) -> list[str]:
    """What a user should know about how long this kind of file shows each frame at a rate of `fps`."""
    hundredths = 100 / exact_fps(fps)
    if path.suffix.lower() != ".gif" or hundredths.denominator == 1:
        return []
    short = int(hundredths)
    return [
        f"fps={fps:g} is not a whole number of hundredths of a second per frame, in which a GIF counts: its frames are "
        f"shown for {short} or {short + 1} of them, at {fps:g} fps on average"
    ]


class _CodecSink:
    """mp4, mkv and webm through PyAV. The header is written with the first packet; a manifest that changes later is
    replaced at the end."""

    def __init__(self, partial: Path, writer: VideoWriter) -> None:
        import av

        webm = partial.suffix.lower() == ".webm"
        width, height = _coded_size(writer, even_sides=not webm)
        crf = str(writer.quality if writer.quality is not None else (28 if webm else 16))
        self._partial, self._writer = partial, writer
        self._has_header, self._tag = False, _tag(writer)
        self._container = av.open(str(partial), "w", options=container_options(partial))
        # cpu-independent: the same frames give the same bytes on every CPU; x264's AVX-512 code has been observed to
        # encode one clip in two ways
        x264 = {"crf": crf, "preset": "medium", "x264-params": "cpu-independent=1"}
        codec_options = {"crf": crf, "b:v": "0", "row-mt": "1"} if webm else x264
        self._stream: Any = self._container.add_stream(
            "libvpx-vp9" if webm else "libx264", rate=writer.fps, options=codec_options
        )
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._tick = 1 / writer.fps  # separate: the muxer changes its stream's time base when it writes the header
        self._stream.time_base = self._tick
        context = self._stream.codec_context
        context.color_range = context.colorspace = context.color_primaries = context.color_trc = 1  # limited, bt709
        self._index = 0

    def add(self, frame: np.ndarray) -> None:
        import av
        from av.video.reformatter import ColorRange, Colorspace

        below, right = self._stream.height - frame.shape[0], self._stream.width - frame.shape[1]
        frame = np.pad(frame, ((0, below), (0, right), (0, 0)), mode="edge")
        converted = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        converted.pts, converted.time_base = self._index, self._tick
        self._index += 1
        self._encode(converted)

    def finish(self) -> None:
        self._encode(None)
        self._container.close()
        if _tag(self._writer) != self._tag:
            retag(self._partial, _tag(self._writer), self._writer.fps)

    def close(self) -> None:
        self._container.close()

    def _encode(self, frame: Any) -> None:
        """Encode and mux a frame; None flushes the encoder."""
        for packet in self._stream.encode(frame):
            if not self._has_header:
                self._set_header()
            self._container.mux(packet)

    def _set_header(self) -> None:
        """Put the present manifest into the header, which is written with the first packet."""
        self._has_header, self._tag = True, _tag(self._writer)
        set_comment(self._container, self._tag)


def _coded_size(writer: VideoWriter, even_sides: bool) -> tuple[int, int]:
    """(width, height) of the stream: the clip's, or the next even numbers."""
    width, height = writer.size
    coded = (width + width % 2, height + height % 2) if even_sides else writer.size
    if coded != writer.size:
        writer.note(
            f"{writer.path.name} is {coded[0]}x{coded[1]} instead of {width}x{height} px: players need even sides, so "
            "the last column or row is repeated"
        )
    return coded


def _tag(writer: VideoWriter) -> str | None:
    return None if writer.manifest is None else encode(writer.manifest)


class _GifSink:
    """GIF through Pillow: at most 256 colours per frame, and times in hundredths of a second.

    Pillow itself would buffer all frames until the end. Instead, the changed part of each frame is encoded as it comes
    into a spool file, because the manifest, which is written before the frames, is only final at the end.
    """

    def __init__(self, partial: Path, writer: VideoWriter) -> None:
        self._partial, self._writer, self._index = partial, writer, 0
        self._first: Any = None
        self._previous: Any = None  # colours of the frame before
        self._spool = partial.with_name("frames").open("w+b")

    def add(self, frame: np.ndarray) -> None:
        from PIL import Image
        from PIL.GifImagePlugin import getdata

        image = Image.fromarray(frame).quantize(256)
        colours = np.asarray(image.convert("RGB"))
        begin, end = (round(100 * i / self._writer.fps) for i in (self._index, self._index + 1))
        options: dict[str, Any] = {"duration": 10 * max(1, end - begin)}
        if self._index == 0:  # its palette is the header's
            self._first, corner = image, (0, 0)
        else:
            image, corner, clear = _changed_part(image, (colours == self._previous).all(-1))
            options |= {"include_color_table": True} | ({} if clear is None else {"transparency": clear})
        self._spool.writelines(getdata(image, corner, **options))
        self._previous = colours
        self._index += 1

    def finish(self) -> None:
        from PIL.GifImagePlugin import getheader

        header, _ = getheader(self._first, info={"loop": 0, "comment": (_tag(self._writer) or "").encode()})
        self._spool.seek(0)
        with self._partial.open("wb") as file:
            file.writelines(header)
            shutil.copyfileobj(self._spool, file)
            file.write(b";")

    def close(self) -> None:
        self._spool.close()


def _changed_part(image: Any, same: np.ndarray) -> tuple[Any, tuple[int, int], int | None]:
    """The bounding box of the changed pixels (not `same` [h, w]) of a quantized image: its pixels, its corner (x, y) in
    px, and the palette index that means "unchanged", one that no other pixel uses. A single pixel where nothing
    changed, since every frame must be present.
    """
    from PIL import Image

    rows, columns = (np.flatnonzero(~same.all(axis)) for axis in (1, 0))
    (top, bottom), (left, right) = ((n[0], n[-1] + 1) if len(n) else (0, 1) for n in (rows, columns))
    pixels, palette = np.array(image), image.getpalette()
    free = np.setdiff1d(np.arange(256), pixels[~same])
    if len(free):
        pixels[same] = free[0]
        palette += [0] * (3 * int(free[0] + 1) - len(palette))
    part = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    part.putpalette(palette)
    return part, (int(left), int(top)), int(free[0]) if len(free) else None


class _PngSink:
    """A folder of PNGs from frame_00000.png on; at the end, the rate and the manifest are written next to them."""

    def __init__(self, partial: Path, writer: VideoWriter) -> None:
        partial.mkdir()
        self._partial, self._writer, self._index = partial, writer, 0

    def add(self, frame: np.ndarray) -> None:
        from PIL import Image

        Image.fromarray(frame).save(self._partial / f"frame_{self._index:05d}.png")
        self._index += 1

    def finish(self) -> None:
        write_folder_file(self._partial, self._writer.fps, self._writer.manifest)

    def close(self) -> None:
        pass
