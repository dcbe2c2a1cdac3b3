"""Easing curves: the progress of a motion over a clip, from 0 at the first frame to 1 at the last, and points on a
path."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from videogen.core.errors import unknown

from .spec import Point

EASES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda t: t,
    "in": lambda t: t**2,
    "out": lambda t: 1 - (1 - t) ** 2,
    "in_out": lambda t: t**2 * (3 - 2 * t),
}


def check_ease(name: str) -> str:
    """The name of a curve; InputError, with the nearest name, for any other."""
    if name not in EASES:
        raise unknown("ease", str(name), EASES)
    return name


def progress(ease: str, frames: int) -> np.ndarray:
    """Fraction of the full motion completed at each frame: float64 [frames], 0 at the first, 1 at the last,
    non-decreasing.

    ease: `linear`, `in` (starts slowly), `out` (ends slowly), `in_out`. A single frame is at 0.
    """
    return EASES[check_ease(ease)](np.linspace(0, 1, frames) if frames > 1 else np.zeros(frames))


def points_at(path: Sequence[Point], fractions: np.ndarray) -> np.ndarray:
    """Points [n, 2] at fractions [n] (0..1) of a path whose points are equally spaced in time."""
    corners = np.asarray(path, np.float64)
    places = fractions * (len(corners) - 1)
    return np.stack([np.interp(places, np.arange(len(corners)), corners[:, axis]) for axis in (0, 1)], axis=-1)


def points_along(path: Sequence[Point], fractions: np.ndarray) -> np.ndarray:
    """Points [n, 2] at fractions [n] (0..1) of a path's length: constant speed over all of its straight segments."""
    corners = np.asarray(path, np.float64)
    reached = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    if reached[-1] == 0:
        return np.repeat(corners[:1], len(fractions), axis=0)
    return np.stack([np.interp(fractions * reached[-1], reached, corners[:, axis]) for axis in (0, 1)], axis=-1)
