"""Strict video reader: a damaged file is an error, never a shorter or wrong clip.

Rotation is applied, exact times are returned, 10-bit is converted to 8-bit RGB, alpha is returned separately. GIF and
WebM have no checksums: only the end mark and, to within a second, the duration are checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videogen.core.errors import InputError, MediaError
from videogen.core.rates import exact_fps

from .metadata import read_folder_fps, read_manifest
from .probe import MediaInfo, MediaLimits, check_limits, describe, open_container, probe
from .video import Video

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_STRICT = {"err_detect": "explode", "fflags": "+discardcorrupt"}


def read_video(
    path: str | os.PathLike[str],
    *,
    start: int = 0,
    frames: int | None = None,
    limits: MediaLimits | None = None,
    backend: str = "auto",
) -> Video:
    """Read a video file, GIF, single image or folder of images; `frames` frames from `start` (None: to the end).

    backend: `pyav`; `decord` (optional, fast random access, only for files that pass PyAV's probe); `auto` is `pyav`,
    the only one that reports damaged files reliably. Raises MediaError or InputError.
    """
    if backend not in ("auto", "pyav", "decord"):
        raise InputError(f"backend={backend!r} is unknown; use auto, pyav or decord")
    if start < 0 or (frames is not None and frames < 1):
        raise InputError(f"start={start}, frames={frames}: start must be 0 or more and frames above 0")
    path, limits = Path(path), limits or MediaLimits()
    if not path.exists():
        raise MediaError(f"{path} does not exist; give the path of a video on this machine")
    if path.is_dir():
        return _read_folder(path, start, frames, limits)
    if path.suffix.lower() in _IMAGES:
        return Video(_read_image(path, limits)[None], Fraction(1))
    if backend == "decord":
        return _read_decord(path, start, frames, limits)
    return _read_pyav(path, start, frames, limits)


def _read_pyav(path: Path, start: int, frames: int | None, limits: MediaLimits) -> Video:
    images: list[np.ndarray] = []
    alphas: list[np.ndarray] = []
    times: list[float] = []
    budget = limits.decoded_bytes
    with open_container(path, _STRICT) as container:
        info = describe(container, path)
        check_limits(info, limits, path)
        decoded = 0
        for frame in _decode(container, path, info.has_alpha):
            decoded += 1
            if decoded <= start:
                continue
            if frames is not None and len(images) == frames:
                break
            image, alpha = _to_arrays(frame, info.has_alpha)
            budget -= image.nbytes
            if budget < 0:
                raise MediaError(
                    f"{path} decodes to more than {limits.decoded_bytes / 2**30:.0f} GiB; cut or scale it first"
                )
            images.append(image)
            if alpha is not None:
                alphas.append(alpha)
            times.append(float(frame.time) if frame.time is not None else float((decoded - 1) / info.fps))
        declared = container.streams.video[0].frames
    if frames is None:
        _check_complete(path, decoded, declared, times[-1] if times else 0.0, info)
    if not images:
        raise MediaError(f"{path} has no frame from {start} on ({decoded} in all)")
    if len({image.shape for image in images}) > 1:
        raise MediaError(f"{path} changes its frame size within the clip; convert it to one size first")
    return Video(
        np.stack(images), _rate(path, info, times), read_manifest(path), np.asarray(times),
        np.stack(alphas) if len(alphas) == len(images) else None,
    )  # fmt: skip


def _rate(path: Path, info: MediaInfo, times: list[float]) -> Fraction:
    """The header's rate; the mean rate for a GIF, which only stores durations in hundredths of a second."""
    if path.suffix.lower() != ".gif" or len(times) < 2:
        return info.fps
    return exact_fps((len(times) - 1) / (times[-1] - times[0]))


def _check_complete(path: Path, decoded: int, declared: int, last_s: float, info: MediaInfo) -> None:
    """MediaError where the header declares more frames or time than were decoded, or a GIF has no end mark."""
    if decoded < declared:
        raise MediaError(f"{path} ends after {decoded} of {declared} frames; it is truncated or damaged")
    missing_s = (info.duration_s or 0.0) - last_s
    if not declared and missing_s > max(1.0, 2 / float(info.fps)):
        raise MediaError(f"{path} ends at {last_s:.2f} of {info.duration_s:.2f} s; it is truncated or damaged")
    if path.suffix.lower() == ".gif" and path.read_bytes().rstrip(b"\0")[-1:] != b";":
        raise MediaError(f"{path} ends after {decoded} frames without a GIF's end mark; it is truncated or damaged")


def _decode(container: Any, path: Path, has_alpha: bool) -> Iterator[Any]:
    """Frames in order; a decoding error or a frame marked as corrupt is a MediaError."""
    import av

    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    context = _alpha_decoder(stream) if has_alpha else None
    try:
        packets = container.demux(stream)
        source = (f for packet in packets for f in (context.decode(packet) if context else packet.decode()))
        for frame in source:
            if getattr(frame, "is_corrupt", False):
                raise MediaError(f"{path} is damaged at {frame.time} s")
            yield frame
    except (av.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path} cannot be decoded ({str(error)[:160]}); it is truncated or damaged") from error


def _alpha_decoder(stream: Any) -> Any:
    """The libvpx decoder, which outputs the alpha plane that FFmpeg's native VP8 and VP9 decoders drop."""
    import av

    name = {"vp9": "libvpx-vp9", "vp8": "libvpx"}.get(stream.codec_context.name)
    if name is None:
        return None
    context = av.CodecContext.create(name, "r")
    context.extradata = stream.codec_context.extradata
    return context


def _to_arrays(frame: Any, has_alpha: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """RGB [h, w, 3] and alpha [h, w], rotated as the file specifies."""
    alpha = None
    if has_alpha and "a" in frame.format.name:
        rgba = frame.to_ndarray(format="rgba")
        image, alpha = rgba[..., :3], rgba[..., 3]
    else:
        image = frame.to_ndarray(format="rgb24")
    turns = round((frame.rotation or 0) / 90) % 4
    if turns:
        image = np.rot90(image, turns)
        alpha = None if alpha is None else np.rot90(alpha, turns)
    return np.ascontiguousarray(image), alpha


def _read_decord(path: Path, start: int, frames: int | None, limits: MediaLimits) -> Video:
    info = probe(path, limits)
    try:
        import decord
    except ImportError as error:
        raise InputError("backend='decord' is not installed; install it or use backend='pyav'") from error
    try:
        reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0))
        stop = len(reader) if frames is None else min(len(reader), start + frames)
        if start >= stop:
            raise MediaError(f"{path} has no frame from {start} on ({len(reader)} in all)")
        return Video(reader.get_batch(list(range(start, stop))).asnumpy(), info.fps, read_manifest(path))
    except decord.DECORDError as error:
        raise MediaError(f"{path} cannot be decoded by decord; use backend='pyav' for the reason") from error


def _read_folder(folder: Path, start: int, frames: int | None, limits: MediaLimits) -> Video:
    names = sorted((p for p in folder.iterdir() if p.suffix.lower() in _IMAGES), key=_natural)
    chosen = names[start : None if frames is None else start + frames]
    if not chosen:
        raise MediaError(f"{folder} has no image from number {start} on ({len(names)} in all)")
    first = _read_image(chosen[0], limits)
    if first.nbytes * len(chosen) > limits.decoded_bytes:
        raise MediaError(
            f"{folder} would decode to {first.nbytes * len(chosen) / 2**30:.1f} GiB; read fewer frames at a time"
        )
    images = [first, *(_read_image(p, limits) for p in chosen[1:])]
    for name, image in zip(chosen, images, strict=True):
        if image.shape != first.shape:
            raise MediaError(
                f"{name} is {image.shape[1]}x{image.shape[0]} and the first image {first.shape[1]}x{first.shape[0]}; "
                "all images of a clip need one size"
            )
    return Video(np.stack(images), read_folder_fps(folder) or Fraction(16), read_manifest(folder))


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Natural sort key: frame_9 comes before frame_10."""
    import re

    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _read_image(path: Path, limits: MediaLimits) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=_FORMATS) as image:
            if max(image.size) > limits.side_px:
                raise MediaError(
                    f"{path} is {image.size[0]}x{image.size[1]}; the limit is {limits.side_px} px per side"
                )
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path} cannot be read as an image ({str(error)[:120]})") from error
