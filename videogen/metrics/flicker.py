"""Flicker of a clip: changes of its brightness that are taken back in the next frame. No weights."""

from __future__ import annotations

import numpy as np

from .frame_statistics import check_clip, luma


def flicker(frames: np.ndarray) -> float:
    """Mean absolute second difference over time of the frames' mean brightness, in levels of 255 (BT.709's weights).

    A steady fade or a moving object on an even ground has none. InputError for fewer than 3 frames uint8 [n, h, w, 3].
    """
    check_clip(frames, 3)
    brightness = np.array([luma(frame).mean(dtype=np.float64) for frame in frames])
    return float(np.abs(np.diff(brightness, 2)).mean())
