"""Thin-plate splines (Bookstein 1989): smooth interpolation of the displacements of point tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .interpolation import bilinear, pixel_grid

_MOST_TRACKS = 200
_WORK = 4_000_000  # kernel values per frame: beyond it a coarser grid is solved and interpolated


@dataclass(frozen=True)
class TrackField:
    """Motion field of tracks float64 [frames, points, 2] with visible bool [frames, points], over frames of height x
    width px."""

    tracks: np.ndarray
    visible: np.ndarray
    height: int
    width: int

    def texture(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """(coordinates in the first frame float64 [..., 2], frame of first visibility int32 [...], all 0) at points
        [..., 2] of a frame.

        Computed directly from the first frame, by the tracks visible in both: errors do not accumulate over frames.
        """
        moved = points if frame == 0 else points + bilinear(*self._displacement(frame, 0, points))
        return moved, np.zeros(points.shape[:-1], np.int32)

    def step(self, points: np.ndarray, frame: int) -> np.ndarray:
        """Positions in the next frame of points [..., 2] of `frame`."""
        return points + bilinear(*self._displacement(frame, frame + 1, points))

    def _displacement(self, start: int, end: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The displacement field [h', w', 2] on a sufficiently coarse grid, and the points in that grid's
        coordinates."""
        both = self.visible[start] & self.visible[end]
        at, to = self.tracks[start][both], self.tracks[end][both]
        chosen = np.unique(np.linspace(0, len(at) - 1, min(len(at), _MOST_TRACKS)).round().astype(int))
        stride = max(1, int(np.ceil(np.sqrt(self.height * self.width * len(chosen) / _WORK))))
        coarse = (
            pixel_grid(-(-(self.height - 1) // stride) + 1, -(-(self.width - 1) // stride) + 1) - 0.5
        ) * stride + 0.5
        return thin_plate(at[chosen], (to - at)[chosen], coarse), (points - 0.5) / stride + 0.5


def thin_plate(at: np.ndarray, values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The smoothest function with `values` [n, 2] at `at` [n, 2], evaluated at points [..., 2].

    Affine motion is reproduced exactly. With few or collinear points the affine part of least norm is used: a single
    point gives a pure translation.
    """
    centre = at.mean(0)
    unit = max(1.0, float(np.abs(at - centre).max()))
    knots, places = (at - centre) / unit, (points - centre) / unit
    count = len(knots)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(knots[:, None], knots)
    system[:count, count], system[:count, count + 1 :] = 1, knots
    system[count:, :count] = system[:count, count:].T
    weights = np.linalg.lstsq(system, np.concatenate([values, np.zeros((3, 2))]), rcond=1e-10)[0]
    flat = places.reshape(-1, 2)
    result = weights[count] + flat @ weights[count + 1 :]
    for first in range(0, len(flat), 16384):
        part = slice(first, first + 16384)
        result[part] += _kernel(flat[part, None], knots) @ weights[:count]
    return result.reshape(*points.shape[:-1], 2)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """r^2 log r^2 between points; 0 at r = 0."""
    square = ((a - b) ** 2).sum(-1)
    return square * np.log(np.maximum(square, 1e-300))
