"""From flow to maps: where in the first frame each pixel of each frame comes from, and what was never there.

A_t(x) = A_{t-1}(x + b_t(x)) with b_t the flow from frame t back to t - 1; what fails the forward-backward test begins a
life of its own at t (its birth), with A_t(x) = x. What comes in from outside goes on with the plane beside it.
Displacements are interpolated, never across births.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .interpolation import bilinear, bilinear_within, inside, pixel_grid

_ITERATIONS, _DONE_PX = 12, 1e-4
_RESIDUAL_PX = 0.3
# Neighbouring pixels that differ by more are of two surfaces: in displacement over many frames, in one step's flow.
_TEAR_PX, _FLOW_TEAR_PX = 1.0, 0.4


@dataclass(frozen=True)
class FlowField:
    """Motion by flow. forward [frames - 1, 2, height, width]; coordinates float32 [frames, height, width, 2] and births
    int32 [frames, height, width]: each pixel's place in the frame of its birth, in which it was first seen."""

    forward: np.ndarray
    coordinates: np.ndarray
    births: np.ndarray

    def texture(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """(coordinates float64 [..., 2], births int32 [...]) at points [..., 2] of a frame."""
        births = self.births[frame]
        shift, born = bilinear_within(self.coordinates[frame] - pixel_grid(*births.shape), births, points, _TEAR_PX)
        return points + shift, born

    def step(self, points: np.ndarray, frame: int) -> np.ndarray:
        """Where points [..., 2] of `frame` are in the next. Beyond the picture the border's flow goes on."""
        return points + _flow_at(np.moveaxis(self.forward[frame], 0, -1).astype(np.float64), points)


def flow_field(forward: np.ndarray, backward: np.ndarray, backward_valid: np.ndarray) -> FlowField:
    """A field from flow [n, 2, height, width] both ways; `backward_valid` bool [n, height, width] as in
    `flow.FlowPair`."""
    return FlowField(forward, *trace(forward, backward, backward_valid))


def trace(forward: np.ndarray, backward: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates float32 [n + 1, height, width, 2] and births int32 [n + 1, height, width] of a chain of flow.

    forward, backward: [n, 2, height, width], px from frame t to t + 1 and back; valid: bool [n, height, width], whether
    to trust it (flow that comes from outside the picture always is).
    """
    count, _, height, width = backward.shape
    grid = pixel_grid(height, width)
    coordinates = np.empty((count + 1, height, width, 2), np.float32)
    births = np.zeros((count + 1, height, width), np.int32)
    coordinates[0] = grid
    displaced = np.zeros_like(grid)
    for t in range(count):
        back = np.moveaxis(backward[t], 0, -1)
        came_from = grid + back
        known = valid[t] | ~inside(came_from, height, width)
        guide = (np.moveaxis(forward[t], 0, -1), -back)
        before, born = bilinear_within(displaced, births[t], came_from, _TEAR_PX, guide)
        displaced = np.where(known[..., None], came_from + before - grid, 0.0)
        births[t + 1] = np.where(known, born, t + 1)
        coordinates[t + 1] = grid + displaced
    return coordinates, births


def invert(forward: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Backward flow [n, 2, height, width] float32 of forward flow, and where it is one: bool [n, height, width].

    Solves b(x) = -F(x + b(x)) by fixed-point steps. Several may hold where one thing passes over another: the one that
    agrees with how the pixel moves on in the next frame is taken, else that of the fastest arriving. Where nothing
    arrives there is none and it is invalid; so it is where `valid` says that F is not known.
    """
    if not len(forward):
        return np.zeros(forward.shape, np.float32), np.zeros(valid.shape, bool)
    fields = np.moveaxis(forward, 1, -1).astype(np.float64)
    pairs = [
        _invert_one(fields[t], valid[t], fields[t + 1] if t + 1 < len(fields) else None) for t in range(len(fields))
    ]
    return np.stack([b for b, _ in pairs]), np.stack([v for _, v in pairs])


def _invert_one(field: np.ndarray, known: np.ndarray, ahead: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """ahead: the flow [height, width, 2] with which the pixels move on, None for the last pair."""
    points = pixel_grid(*known.shape).reshape(-1, 2)
    back, fine = np.zeros_like(points), np.zeros(len(points), bool)
    if ahead is not None:
        back, fine = _solved(field, known, points, -ahead.reshape(-1, 2), as_guessed=True)
    left = np.flatnonzero(~fine)
    back[left], fine[left] = _solved(
        field, known, points[left], _arrivals(field, known).reshape(-1, 2)[left], as_guessed=False
    )
    back[~fine] = 0
    return np.moveaxis(back.reshape(field.shape), -1, 0).astype(np.float32), fine.reshape(known.shape)


def _solved(
    field: np.ndarray, known: np.ndarray, points: np.ndarray, guess: np.ndarray, *, as_guessed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The fixed points [n, 2] for points [n, 2] that are reached from a guess [n, 2], and which are ones: bool [n].

    as_guessed: at the border of things that move apart take the one that moves as guessed, not the nearest pixel's.
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
    """Flow [height, width, 2] at points [n, 2], not blended over the border of things that move apart."""
    guide = None if like is None else (field, like)
    return bilinear_within(field, np.zeros(field.shape[:2], np.int8), points, _FLOW_TEAR_PX, guide)[0]


def _arrivals(field: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A first guess of the backward flow: minus the flow of the fastest pixel that arrives, else minus the flow
    here."""
    height, width = known.shape
    target = np.floor(pixel_grid(height, width) + field)
    lands = known & inside(target + 0.5, height, width)
    order = np.argsort(np.linalg.norm(field, axis=-1)[lands], kind="stable")  # the fastest last: it overwrites
    xs, ys = target[lands][order].astype(np.intp).T
    guess = -field
    guess[ys, xs] = -field[lands][order]
    return guess
