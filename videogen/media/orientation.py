"""Orientation of stored images: turns and mirrorings, from EXIF and from the display matrix of a video track.

References: EXIF 2.32, tag 0x0112; ISO/IEC 14496-12, section 8.3.2 (the matrix of a track header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Orientation:
    """What turns a stored image upright: first rows and columns are swapped, then the result is mirrored."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The upright image of one that is stored as [height, width, ...]; a view."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


UPRIGHT = Orientation()
#: by the value of EXIF's tag `Orientation`, from 1
_EXIF = (
    UPRIGHT, Orientation(flip_x=True), Orientation(flip_x=True, flip_y=True), Orientation(flip_y=True),
    Orientation(transpose=True), Orientation(transpose=True, flip_x=True),
    Orientation(transpose=True, flip_x=True, flip_y=True), Orientation(transpose=True, flip_y=True),
)  # fmt: skip


def from_exif(value: object) -> Orientation:
    """The orientation of EXIF's tag; upright for values that it does not define, such as 0."""
    return _EXIF[value - 1] if isinstance(value, int) and 1 <= value <= len(_EXIF) else UPRIGHT


def from_display_matrix(matrix: bytes) -> Orientation:
    """The orientation nearest to a display matrix, 9 native int32 by rows: (x, y) is shown at (ax + cy, bx + dy)."""
    a, b, _, c, d = struct.unpack("=9i", matrix)[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(flip_x=a < 0, flip_y=d < 0)
    return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
