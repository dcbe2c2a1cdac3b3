"""Flicker of a clip: changes of its brightness that are taken back in the next frame. No weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .frame_statistics import check_clip, luma


def flicker(frames: np.ndarray, check: Callable[[], None] = lambda: None) -> float:
    """Mean absolute second difference over time of the frames' mean brightness, in levels of 255 (BT.709's weights).

    A steady fade or a moving object on an even ground has none. check: called before each frame, may
    stop the work. InputError for fewer than 3 frames uint8 [n, h, w, 3].
    """
    check_clip(frames, 3)
    return float(np.abs(np.diff([_measure_brightness(frame, check) for frame in frames], 2)).mean())


def _measure_brightness(frame: np.ndarray, check: Callable[[], None]) -> float:
    check()
    return float(luma(frame).mean(dtype=np.float64))
