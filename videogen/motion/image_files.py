"""Image files of masks and sprites, read as all images are: upright, 8 bits per channel (see `media.images`)."""

from __future__ import annotations

import os

import numpy as np

from videogen.core.errors import InputError, MediaError


def read_mask_image(path: str | os.PathLike[str]) -> np.ndarray:
    """The brightness of an image file, uint8 [height, width]; its alpha does not count.

    InputError for a file that is missing, damaged, animated or not an image.
    """
    import cv2

    pixels, _ = _read(path)
    if (pixels == pixels[..., :1]).all():  # grey: exact
        return np.ascontiguousarray(pixels[..., 0])
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def read_rgba_image(path: str | os.PathLike[str]) -> np.ndarray:
    """An image file as RGBA, uint8 [height, width, 4], opaque where it has no alpha. InputError as for
    `read_mask_image`."""
    pixels, alpha = _read(path)
    opaque = np.full(pixels.shape[:2], 255, np.uint8) if alpha is None else alpha
    return np.concatenate([pixels, opaque[..., None]], axis=2)


def _read(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """RGB uint8 [height, width, 3], and alpha [height, width] or None."""
    from videogen.media.images import read_still

    try:
        still = read_still(path)
    except MediaError as error:
        raise InputError(str(error)) from error
    return still.frames[0], None if still.alpha is None else still.alpha[0]
