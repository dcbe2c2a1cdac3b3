"""Backward maps from flow: the position of each pixel in the first frame, or in the frame where it is first visible.

A_t(x) = A_{t-1}(x + b_t(x)), where b_t is the flow from frame t back to t - 1. A pixel that fails the forward-backward
test is first visible at t, with A_t(x) = x. Content that enters from outside the frame extends the adjacent plane.
Displacements are interpolated, but never between pixels with different frames of first visibility.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .interpolation import bilinear, bilinear_within, inside, pixel_grid

_ITERATIONS, _DONE_PX = 12, 1e-4
_RESIDUAL_PX = 0.3
# Neighbouring pixels that differ by more belong to two surfaces: in displacement over many frames, in one step's flow.
_TEAR_PX, _FLOW_TEAR_PX = 1.0, 0.4


@dataclass(frozen=True)
class FlowField:
    """Motion field of flow. forward [frames - 1, 2, height, width]; first_visible_frame int32 [frames, height, width]:
    the frame in which each pixel's surface point is first visible; coordinates float32 [frames, height, width, 2]: its
    position in that frame."""

    forward: np.ndarray
    coordinates: np.ndarray
    first_visible_frame: np.ndarray

    def texture(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """(coordinates float64 [..., 2], frame of first visibility int32 [...]) at points [..., 2] of a frame."""
        labels = self.first_visible_frame[frame]
        shift, label = bilinear_within(self.coordinates[frame] - pixel_grid(*labels.shape), labels, points, _TEAR_PX)
        return points + shift, label

    def step(self, points: np.ndarray, frame: int) -> np.ndarray:
        """Positions in the next frame of points [..., 2] of `frame`. Outside the frame the border's flow applies."""
        return points + _flow_at(np.moveaxis(self.forward[frame], 0, -1).astype(np.float64), points)


def flow_field(forward: np.ndarray, backward: np.ndarray, backward_valid: np.ndarray) -> FlowField:
    """A field from forward and backward flow [n, 2, height, width]; `backward_valid` bool [n, height, width] as in
    `flow.FlowPair`."""
    return FlowField(forward, *trace(forward, backward, backward_valid))


def trace(forward: np.ndarray, backward: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates float32 [n + 1, height, width, 2] and frames of first visibility int32 [n + 1, height, width] of a
    chain of flow.

    forward, backward: [n, 2, height, width], px from frame t to t + 1 and back; valid: bool [n, height, width], whether
    to trust the backward flow (flow from outside the frame is always trusted).
    """
    count, _, height, width = backward.shape
    grid = pixel_grid(height, width)
    coordinates = np.empty((count + 1, height, width, 2), np.float32)
    first_visible_frame = np.zeros((count + 1, height, width), np.int32)
    coordinates[0] = grid
    displaced = np.zeros_like(grid)
    for t in range(count):
        back = np.moveaxis(backward[t], 0, -1)
        came_from = grid + back
        known = valid[t] | ~inside(came_from, height, width)
        guide = (np.moveaxis(forward[t], 0, -1), -back)
        before, label = bilinear_within(displaced, first_visible_frame[t], came_from, _TEAR_PX, guide)
        displaced = np.where(known[..., None], came_from + before - grid, 0.0)
        first_visible_frame[t + 1] = np.where(known, label, t + 1)
        coordinates[t + 1] = grid + displaced
    return coordinates, first_visible_frame


def invert(forward: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Backward flow [n, 2, height, width] float32 from forward flow, and its validity: bool [n, height, width].

    Solves b(x) = -F(x + b(x)) by fixed-point iteration. There are several solutions where one object passes over
    another: the one that agrees with the pixel's motion to the following frame is taken, otherwise that of the fastest
    pixel that arrives. The result is invalid where no pixel arrives, and where `valid` is False at the origin.
    """
    if not len(forward):
        return np.zeros(forward.shape, np.float32), np.zeros(valid.shape, bool)
    fields = np.moveaxis(forward, 1, -1).astype(np.float64)
    pairs = [
        _invert_one(fields[t], valid[t], fields[t + 1] if t + 1 < len(fields) else None) for t in range(len(fields))
    ]
    return np.stack([b for b, _ in pairs]), np.stack([v for _, v in pairs])


def _invert_one(field: np.ndarray, known: np.ndarray, ahead: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """ahead: the flow [height, width, 2] of the pixels to the following frame; None for the last pair."""
    points = pixel_grid(*known.shape).reshape(-1, 2)
    back, valid = np.zeros_like(points), np.zeros(len(points), bool)
    if ahead is not None:
        back, valid = _solve_fixed_point(field, known, points, -ahead.reshape(-1, 2), as_guessed=True)
    left = np.flatnonzero(~valid)
    back[left], valid[left] = _solve_fixed_point(
        field, known, points[left], _guess_from_arrivals(field, known).reshape(-1, 2)[left], as_guessed=False
    )
    back[~valid] = 0
    return np.moveaxis(back.reshape(field.shape), -1, 0).astype(np.float32), valid.reshape(known.shape)


def _solve_fixed_point(
    field: np.ndarray, known: np.ndarray, points: np.ndarray, guess: np.ndarray, *, as_guessed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Backward flow [n, 2] at points [n, 2], iterated from a guess [n, 2], and where it converged: bool [n].

    as_guessed: at the border between surfaces that move apart, use the surface that moves as guessed instead of the
    nearest pixel's.
    """
    back, left = guess.copy(), np.arange(len(points))
    for _ in range(_ITERATIONS):
        moved = _flow_at(field, points[left] + back[left], -guess[left] if as_guessed else None)
        changed = np.abs(moved + back[left]).max(-1) > _DONE_PX
        back[left], left = -moved, left[changed]
        if not len(left):
            break
    residual = np.linalg.norm(back + _flow_at(field, points + back, -guess if as_guessed else None), axis=-1)
    trusted = known.all() or bilinear(known.astype(np.float64), points + back) > 0.999
    return back, (residual < _RESIDUAL_PX) & trusted


def _flow_at(field: np.ndarray, points: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Flow [height, width, 2] at points [n, 2], not blended across the border between surfaces that move apart."""
    guide = None if like is None else (field, like)
    return bilinear_within(field, np.zeros(field.shape[:2], np.int8), points, _FLOW_TEAR_PX, guide)[0]


def _guess_from_arrivals(field: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Initial guess of the backward flow: minus the flow of the fastest pixel that arrives, otherwise minus the flow at
    the pixel itself."""
    height, width = known.shape
    target = np.floor(pixel_grid(height, width) + field)
    lands = known & inside(target + 0.5, height, width)
    order = np.argsort(np.linalg.norm(field, axis=-1)[lands], kind="stable")  # the fastest last: it overwrites
    xs, ys = target[lands][order].astype(np.intp).T
    guess = -field
    guess[ys, xs] = -field[lands][order]
    return guess
