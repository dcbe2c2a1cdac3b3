"""Frame statistics for the metrics of long clips: differences, brightness, Lab colours, sharpness. NumPy, one frame at
a time.

Legend: n frames, h height, w width. Levels are 0 to 255.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from videogen.core.errors import InputError

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_D65 = np.array([0.95047, 1.0, 1.08883])


def check_clip(frames: np.ndarray, least: int = 1) -> None:
    """InputError where these are not at least `least` frames uint8 [n, h, w, 3] of 3x3 px or more."""
    shape: tuple[int, ...] = getattr(frames, "shape", ())
    if getattr(frames, "dtype", None) != np.uint8 or len(shape) != 4 or shape[3] != 3 or min(shape[1:3]) < 3:
        kind = f"{getattr(frames, 'dtype', type(frames).__name__)} {list(shape)}"
        raise InputError(f"frames must be uint8 [n, height, width, 3] of 3x3 px or more, these are {kind}")
    if shape[0] < least:
        raise InputError(f"{shape[0]} frames are too few to evaluate; give at least {least}")


def luma(frame: np.ndarray) -> np.ndarray:
    """Brightness of a frame [h, w, 3] in levels, float32 [h, w] (BT.709's weights on coded values)."""
    return frame.astype(np.float32) @ _LUMA


def steps(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference between neighbouring frames in levels, float64 [n - 1]."""
    return np.array([np.abs(b.astype(np.int16) - a).mean(dtype=np.float64) for a, b in pairwise(frames)])


def second_differences(frames: np.ndarray) -> np.ndarray:
    """Mean absolute second difference over time in levels, float64 [n - 2]."""
    wide = [frame.astype(np.int16) for frame in frames]
    return np.array(
        [np.abs(a - 2 * b + c).mean(dtype=np.float64) for a, b, c in zip(wide, wide[1:], wide[2:], strict=False)]
    )


def mean_lab(frames: np.ndarray) -> np.ndarray:
    """Mean Lab colour of each frame, float64 [n, 3]."""
    return np.stack([lab(frame).mean((0, 1)) for frame in frames])


def lab(colours: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* (D65) of sRGB colours uint8 [..., 3], float64: L* 0 to 100."""
    linear = _LINEAR[colours]
    ratio = linear @ _TO_XYZ.T / _D65
    cubes = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(cubes, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def sharpness(frames: np.ndarray) -> np.ndarray:
    """Variance of each frame's Laplacian in levels squared, float64 [n] (Pech-Pacheco et al., ICPR 2000)."""
    return np.array([_laplacian(luma(frame)).var(dtype=np.float64) for frame in frames])


def _laplacian(y: np.ndarray) -> np.ndarray:
    return y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:] - 4 * y[1:-1, 1:-1]


def _linearised() -> np.ndarray:
    """Linear light of each sRGB level (IEC 61966-2-1)."""
    coded = np.arange(256) / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


_LINEAR = _linearised()
