"""Does noise move as it should? Correlation of a latent frame with the first one, moved as the motion says.

Arrays in, figures out: noise float [c, h, w], one latent frame. Legend: c channels, h w latent height and width, k px
along a latent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

from .whiteness import checked_noise

_POINTS = 4  # looked at in a pixel, along each axis


@dataclass(frozen=True)
class Coherence:
    """correlation: of a frame with the first one moved along; attainable: what that is for noise painted on what moves,
    less than 1 where latents are cut, shrunk or grown; share: of the latents that show only what the first frame
    showed, and were judged."""

    correlation: float
    attainable: float
    share: float


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two noises of one shape, whose means are 0: how much of one is in the other."""
    one, other = (np.asarray(m, np.float64) for m in (a, b))
    if one.shape != other.shape or not one.any() or not other.any():
        raise InputError(
            f"noises {list(one.shape)} and {list(other.shape)} cannot be correlated; both need one shape, and not all 0"
        )
    return float((one * other).sum() / math.sqrt((one**2).sum() * (other**2).sum()))


def coherence(first: np.ndarray, later: np.ndarray, shown: np.ndarray) -> Coherence:
    """Correlation of a later frame [c, h, w] with the first one [c, h, w] moved as `shown` says.

    shown [k h, k w, 2]: the place (x, y) in px of the first picture that each pixel of the later one shows, as
    `MotionPlan.map_at` gives it; NaN or outside: nothing of it. A latent of the moved frame is the sum of the first's,
    by the pixels it has of each, brought back to variance 1.
    """
    start, now = checked_noise(first), checked_noise(later)
    _, height, width = start.shape
    edge = len(shown) // height if shown.ndim == 3 else 0
    if start.shape != now.shape or shown.shape != (edge * height, edge * width, 2) or min(shown.shape[:2]) < 2:
        raise InputError(
            f"shown {list(shown.shape)} and frames {list(start.shape)} and {list(now.shape)} do not fit: "
            "[c, h, w] twice and [k h, k w, 2] are needed"
        )
    seen, area = _seen(np.asarray(shown, np.float64), edge, width, height)
    whole = np.flatnonzero((seen >= 0).all(1))
    if not len(whole):
        raise InputError(
            "no latent of the later frame shows only what the first frame showed; there is nothing to judge"
        )
    pairs = np.arange(len(whole))[:, None] * (height * width) + seen[whole]
    pairs, count = np.unique(pairs, return_counts=True)
    target, source = np.divmod(pairs, height * width)
    share = count / seen.shape[1]
    moved = np.stack([np.bincount(target, share * channel[source]) for channel in start.reshape(len(start), -1)])
    length = np.sqrt(np.bincount(target, share**2))
    attainable = np.minimum(1, np.sqrt(area[whole]) * length).mean()
    return Coherence(
        correlation(moved / length, now.reshape(len(now), -1)[:, whole]),
        float(attainable),
        len(whole) / (height * width),
    )


def _seen(shown: np.ndarray, edge: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """By latents: the first frame's latent that each point of a pixel shows, -1 for none, [h w, n]; a pixel's mean area
    there [h w]."""
    right, down = _slope(shown, 1), _slope(shown, 0)
    offsets = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
    points = [_latent_at(shown + right * dx + down * dy, edge, width, height) for dy in offsets for dx in offsets]
    area = np.abs(right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0])
    by_latent = np.stack([*points, area]).reshape(len(points) + 1, height, edge, width, edge).transpose(1, 3, 0, 2, 4)
    by_latent = by_latent.reshape(height * width, len(points) + 1, edge**2)
    return by_latent[:, :-1].reshape(height * width, -1).astype(np.int64), by_latent[:, -1].mean(1)


def _slope(places: np.ndarray, axis: int) -> np.ndarray:
    """How places [.., .., 2] change from pixel to pixel: of the ways to either side the shorter, so that edges and
    holes don't spread."""
    step = np.diff(places, axis=axis)
    before, after = (np.insert(step, at, step.take(at, axis), axis) for at in (0, step.shape[axis] - 1))
    return np.where((np.abs(before) <= np.abs(after)) | np.isnan(after), before, after)


def _latent_at(places: np.ndarray, edge: int, width: int, height: int) -> np.ndarray:
    """Number of the latent at places [..., 2] in px, -1 outside."""
    column, row = (np.floor(np.nan_to_num(places[..., axis], nan=-1.0) / edge) for axis in (0, 1))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(inside, row * width + column, -1)
