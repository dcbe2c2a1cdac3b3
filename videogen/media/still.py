"""Writing of single images."""

from __future__ import annotations

import os

import numpy as np


def save_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write uint8 [height, width, 3] as PNG or JPEG, by the suffix."""
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(image)).save(path)
