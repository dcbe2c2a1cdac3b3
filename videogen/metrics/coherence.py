"""Temporal coherence of noise: correlation of a latent frame with the first one warped along the motion.

Input: noise float [c, h, w], one latent frame. Legend: c channels, h w latent height and width, k px per latent along
each axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from videogen.core.errors import InputError

from .whiteness import checked_noise

_POINTS = 4  # sample points per pixel, along each axis


@dataclass(frozen=True)
class Coherence:
    """correlation: of a frame with the first one warped along the motion; attainable: the same for noise attached to
    the moving surfaces, below 1 where latents are cut, shrunk or enlarged; fraction: of the latents that show only
    content of the first frame, which are those evaluated."""

    correlation: float
    attainable: float
    fraction: float


def correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Correlation of two noise arrays of the same shape and mean 0."""
    one, other = (np.asarray(m, np.float64) for m in (a, b))
    if one.shape != other.shape or not one.any() or not other.any():
        raise InputError(
            f"noises {list(one.shape)} and {list(other.shape)} cannot be correlated; they need the same shape, and "
            "values other than 0"
        )
    return float((one * other).sum() / math.sqrt((one**2).sum() * (other**2).sum()))


def coherence(first: np.ndarray, later: np.ndarray, backward_map: np.ndarray) -> Coherence:
    """Correlation of a later frame [c, h, w] with the first one [c, h, w] warped by `backward_map`.

    backward_map [k h, k w, 2]: the position (x, y) in px of the first frame that each pixel of the later one shows, as
    returned by `MotionPlan.map_at`; NaN or outside: not in the first frame. A latent of the warped frame is the sum of
    the first frame's latents, weighted by the pixels it shows of each and normalised to variance 1.
    """
    start, now = checked_noise(first), checked_noise(later)
    _, height, width = start.shape
    edge = len(backward_map) // height if backward_map.ndim == 3 else 0
    fits = backward_map.shape == (edge * height, edge * width, 2) and min(backward_map.shape[:2]) >= 2
    if start.shape != now.shape or not fits:
        raise InputError(
            f"backward_map {list(backward_map.shape)} and frames {list(start.shape)} and {list(now.shape)} do not fit: "
            "[k h, k w, 2] and twice [c, h, w] are needed"
        )
    latents, area = _sample_latents(np.asarray(backward_map, np.float64), edge, width, height)
    complete = np.flatnonzero((latents >= 0).all(1))
    if not len(complete):
        raise InputError(
            "no latent of the later frame shows only content of the first frame; there is nothing to evaluate"
        )
    pairs = np.arange(len(complete))[:, None] * (height * width) + latents[complete]
    pairs, count = np.unique(pairs, return_counts=True)
    target, source = np.divmod(pairs, height * width)
    weight = count / latents.shape[1]
    moved = np.stack([np.bincount(target, weight * channel[source]) for channel in start.reshape(len(start), -1)])
    length = np.sqrt(np.bincount(target, weight**2))
    attainable = np.minimum(1, np.sqrt(area[complete]) * length).mean()
    return Coherence(
        correlation(moved / length, now.reshape(len(now), -1)[:, complete]),
        float(attainable),
        len(complete) / (height * width),
    )


def _sample_latents(places: np.ndarray, edge: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Per latent of the later frame: the first frame's latent at each of n sample points, -1 for none, [h w, n]; and
    the mean area of a pixel in the first frame [h w]."""
    right, down = _slope(places, 1), _slope(places, 0)
    offsets = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
    points = [_latent_at(places + right * dx + down * dy, edge, width, height) for dy in offsets for dx in offsets]
    area = np.abs(right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0])
    by_latent = np.stack([*points, area]).reshape(len(points) + 1, height, edge, width, edge).transpose(1, 3, 0, 2, 4)
    by_latent = by_latent.reshape(height * width, len(points) + 1, edge**2)
    return by_latent[:, :-1].reshape(height * width, -1).astype(np.int64), by_latent[:, -1].mean(1)


def _slope(places: np.ndarray, axis: int) -> np.ndarray:
    """Difference of places [.., .., 2] between neighbouring pixels: the smaller of the two one-sided differences, so
    that edges and holes do not spread."""
    step = np.diff(places, axis=axis)
    before, after = (np.insert(step, at, step.take(at, axis), axis) for at in (0, step.shape[axis] - 1))
    return np.where((np.abs(before) <= np.abs(after)) | np.isnan(after), before, after)


def _latent_at(places: np.ndarray, edge: int, width: int, height: int) -> np.ndarray:
    """Index of the latent at places [..., 2] in px, -1 outside."""
    column, row = (np.floor(np.nan_to_num(places[..., axis], nan=-1.0) / edge) for axis in (0, 1))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(inside, row * width + column, -1)
