"""Image files of masks and sprites (PNG and the other formats of OpenCV). Video is decoded in `media`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from videogen.core.errors import InputError

_LARGEST_SIDE = 16384


def read_image(path: str | os.PathLike[str], channels: int) -> np.ndarray:
    """uint8 [height, width] (1 channel) or [height, width, 4] RGBA (4; opaque where the file has no alpha).

    InputError for a file that is missing, damaged or not an image.
    """
    import cv2

    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the image {str(path)!r}: {error}") from error
    try:
        found = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_UNCHANGED
        )
    except cv2.error as error:
        raise InputError(f"{path} is not a readable image: {error.err}") from error
    if found is None:
        raise InputError(f"{path} is not a readable image; give a PNG")
    if found.dtype != np.uint8 or max(found.shape[:2]) > _LARGEST_SIDE:
        size = f"{found.dtype} {found.shape[1]}x{found.shape[0]}"
        raise InputError(f"{path} is {size}; give 8 bits per channel, at most {_LARGEST_SIDE} px per side")
    if channels == 1:
        return found
    if found.ndim == 2 or found.shape[2] < 4:  # without alpha: decoded again, turned as EXIF says
        turned = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        found = found if turned is None else turned
    return _to_rgba(found)


def _to_rgba(found: np.ndarray) -> np.ndarray:
    if found.ndim == 2:
        found = np.repeat(found[..., None], 3, axis=2)
    opaque = np.full((*found.shape[:2], 1), 255, np.uint8)
    alpha = found[..., 3:] if found.shape[2] == 4 else opaque
    return np.concatenate([found[..., 2::-1], alpha], axis=2)
