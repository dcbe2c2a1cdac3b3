"""Still and animated images as clips, alone and as folders.

Frames are shown for as long as browsers show them: one of 10 ms or less for 100 ms.
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videogen.core.errors import MediaError
from videogen.core.rates import exact_fps

from .excerpt import Budget, Excerpt
from .formats import IMAGE_NAMES, IMAGE_SUFFIXES, MediaFormat, image_format
from .image_file import StoredImage, open_image
from .metadata import read_folder_fps, read_manifest
from .probe import MediaLimits
from .video import Video, visible_alpha

_FOLDER_FPS = Fraction(16)
_MOST_FPS = Fraction(100)
_SHORTEST_MS, _INSTEAD_MS = 10, 100  # as in Blink, Gecko and WebKit
_TAIL_BYTES = 1 << 16


def read_images(path: Path, form: MediaFormat, part: Excerpt, limits: MediaLimits) -> Video:
    """An image file as a clip: a still as one frame at 1 fps. MediaError where it is damaged or beyond the limits."""
    images: list[StoredImage] = []
    times: list[float] = []
    clock, decoded = 0.0, 0
    _check_end(path, form)
    with open_image(path) as file:
        _check_size(path, file.size, limits, min(file.count, part.count(_MOST_FPS) or file.count))
        for image in file.decode():
            if decoded >= part.start:
                if part.is_complete(times):
                    break
                images.append(image)
                times.append(clock)
            clock, decoded = clock + _display_ms(image.duration_ms) / 1000, decoded + 1
    if not images:
        raise MediaError(f"{path} has no frame from {part.start} on ({decoded} in all)")
    if file.count == 1:
        return _as_video(images, Fraction(1), read_manifest(path))
    return _as_video(images, exact_fps(decoded / clock), read_manifest(path), np.asarray(times))


def read_folder(folder: Path, part: Excerpt, limits: MediaLimits) -> Video:
    """A folder of images as a clip, in natural order: at the rate that videogen stored there, or 16 fps.

    Hidden files are not part of it, such as the `._` files of macOS. MediaError for images of different sizes.
    """
    names = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    fps = read_folder_fps(folder) or _FOLDER_FPS
    chosen = sorted(names, key=_natural)[part.select(len(names), fps)]
    if not chosen:
        raise MediaError(f"{folder} has no image from number {part.start} on ({len(names)} in all)")
    budget, images = Budget(folder, limits), []
    for name in chosen:
        image = read_still(name, limits)
        budget.spend(image.frames)
        images.append(StoredImage(image.frames[0], None if image.alpha is None else image.alpha[0], 0))
        first = images[0].pixels
        if images[-1].pixels.shape != first.shape:
            height, width = images[-1].pixels.shape[:2]
            raise MediaError(
                f"{name} is {width}x{height} and the first image {first.shape[1]}x{first.shape[0]}; "
                "all images of a clip need one size"
            )
    return _as_video(images, fps, read_manifest(folder))


def read_still(path: str | os.PathLike[str], limits: MediaLimits | None = None) -> Video:
    """The only frame of an image file. MediaError where it is missing, animated, damaged or not an image."""
    path = Path(path)
    try:
        form = image_format(path)
    except ValueError as error:  # a NUL in the name
        raise MediaError(f"{str(path)[:80]!r} is not a file name ({error})") from error
    if form is None and not path.exists():
        raise MediaError(f"{path} does not exist; give the path of an image on this machine")
    if form is None:
        raise MediaError(f"{path} is not an image of a format that is read: {IMAGE_NAMES}; convert it first")
    video = read_images(path, form, Excerpt(), limits or MediaLimits())
    if len(video) > 1:
        raise MediaError(f"{path} is animated ({len(video)} frames) where one image is needed; extract a frame")
    return video


def _as_video(images: list[StoredImage], fps: Fraction, manifest: Any, times_s: np.ndarray | None = None) -> Video:
    """A clip of images; alpha where any of them is not opaque."""
    alpha = None
    if any(image.alpha is not None for image in images):
        alpha = np.stack([np.full(i.pixels.shape[:2], 255, np.uint8) if i.alpha is None else i.alpha for i in images])
    return Video(np.stack([image.pixels for image in images]), fps, manifest, times_s, visible_alpha(alpha))


def _check_size(path: Path, size: tuple[int, int], limits: MediaLimits, frames: int) -> None:
    width, height = size
    if max(height, width) > limits.side_px:
        raise MediaError(f"{path} is {width}x{height}; the limit is {limits.side_px} px per side")
    decoded_bytes = height * width * 3 * frames
    if decoded_bytes > limits.decoded_bytes:
        raise MediaError(
            f"{path} would decode to {decoded_bytes / 2**30:.1f} GiB; the limit is "
            f"{limits.decoded_bytes / 2**30:.0f} GiB: cut or scale it first"
        )


def _display_ms(duration_ms: float) -> float:
    return duration_ms if duration_ms > _SHORTEST_MS else _INSTEAD_MS


def _check_end(path: Path, form: MediaFormat) -> None:
    """MediaError where a file does not end as its format does."""
    if not form.end:
        return
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        if not re.search(form.end, file.read()):
            raise MediaError(f"{path} has no end mark of {form.name}; it is truncated or damaged")


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Natural sort key: frame_9 comes before frame_10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]
