"""Image files, still and animated, decoded with imageio's Pillow plugin.

EXIF orientation is applied (here, because the plugin confuses axes of grey and paletted images), 16-bit values are
scaled to 8 bits, and alpha is returned separately.
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
        height, width = file.properties(index=0).shape[:2]
        total = int(file.properties(index=...).n_images or 1)
        # the image that an APNG has for viewers without animation may not be part of it
        self._first = int(bool(file.metadata(index=0).get("default_image")))
        self.size, self.count = (int(width), int(height)), total - self._first

    def decode(self) -> Iterator[StoredImage]:
        """All frames in order, upright."""
        for index in range(self._first, self._first + self.count):
            facts = self._file.metadata(index=index)
            transparent = self.count > 1 or facts["mode"] in _WITH_ALPHA or "transparency" in facts
            if facts["mode"].startswith("I"):
                pixels = scale_to_8_bits(self._file.read(index=index))
            else:
                pixels = self._file.read(index=index, mode=_COLOURS[transparent])
            facts = self._file.metadata(index=index, exclude_applied=False)
            pixels = from_exif(facts.get("Orientation")).apply(pixels)
            alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
            yield StoredImage(np.ascontiguousarray(pixels[..., :3]), alpha, float(facts.get("duration") or 0))


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile]:
    """Open an image file whose format is known. MediaError where it is damaged, also while frames are decoded."""
    import imageio.v3 as iio
    from PIL import Image

    try:
        with path.open("rb") as content, iio.imopen(content, "r", plugin="pillow") as file:
            yield ImageFile(file)
    except MediaError:
        raise
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise MediaError(f"{path} cannot be read as an image ({str(error)[:120]}); it may be damaged") from error


def scale_to_8_bits(grey: np.ndarray) -> np.ndarray:
    """16-bit values [height, width] as uint8 [height, width, 3]: 65535 becomes 255."""
    scaled = (np.clip(grey, 0, 65535).astype(np.uint32) * 255 + 32767) // 65535
    return np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=2)
