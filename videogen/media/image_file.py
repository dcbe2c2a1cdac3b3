"""Image files, still and animated, decoded with Pillow.

EXIF orientation is applied, 16-bit values are scaled to 8 bits, and alpha is returned separately.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videogen.core.errors import MediaError

from .orientation import from_exif

_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_ORIENTATION = 0x0112  # of EXIF
_COLOURS = ("RGB", "RGBA")
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)


@dataclass(frozen=True)
class StoredImage:
    """pixels: RGB uint8 [height, width, 3]; alpha: [height, width] or None; duration_ms: 0 where the file has none."""

    pixels: np.ndarray
    alpha: np.ndarray | None
    duration_ms: float


class ImageFile:
    """An open image file. size: (width, height) in px as stored; count: frames of its animation, 1 for a still."""

    def __init__(self, file: Any) -> None:
        self._file = file
        # the image that an APNG has for viewers without animation may not be part of it
        self._first = int(bool(file.info.get("default_image")))
        self.size, self.count = file.size, int(getattr(file, "n_frames", 1)) - self._first

    def decode(self) -> Iterator[StoredImage]:
        """All frames in order, upright."""
        for index in range(self._first, self._first + self.count):
            self._file.seek(index)
            transparent = self.count > 1 or self._file.mode in _WITH_ALPHA or "transparency" in self._file.info
            if self._file.mode.startswith("I"):
                pixels = _eight_bits(np.asarray(self._file))
            else:
                pixels = np.asarray(self._file.convert(_COLOURS[transparent]))
            pixels = from_exif(self._file.getexif().get(_ORIENTATION)).apply(pixels)
            alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
            yield StoredImage(np.ascontiguousarray(pixels[..., :3]), alpha, float(self._file.info.get("duration") or 0))


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile]:
    """Open an image file whose format is known. MediaError where it is damaged, also while frames are decoded."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            yield ImageFile(file)
    except MediaError:
        raise
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise MediaError(f"{path} cannot be read as an image ({str(error)[:120]}); it may be damaged") from error


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """16-bit values [height, width] as uint8 [height, width, 3]: 65535 becomes 255."""
    scaled = (np.clip(grey, 0, 65535).astype(np.uint32) * 255 + 32767) // 65535
    return np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=2)
