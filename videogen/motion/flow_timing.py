"""Flow between frames at other times than those between which it was measured, by composition.

The flow over several steps follows each point from step to step; the flow over part of a step is that part of it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .flow import FlowPair
from .interpolation import bilinear, inside, pixel_grid

_VALID = 0.999


def resample_flow(pair: FlowPair, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward and backward flow float32 [n - 1, 2, h, w] between positions [n] among the frames of `pair`, and where
    the backward flow is valid: bool [n - 1, h, w]. Positions do not decrease; beyond the last frame nothing moves."""
    _, _, height, width = pair.forward.shape
    rows = [_compose(pair, start, end) for start, end in pairwise(places)]
    if not rows:
        flow = np.zeros((0, 2, height, width), np.float32)
        return flow, flow, np.zeros((0, height, width), bool)
    forward, backward, valid = (np.stack(part) for part in zip(*rows, strict=True))
    return forward, backward, valid


def _compose(pair: FlowPair, start: float, end: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, _, height, width = pair.forward.shape
    steps = np.arange(len(pair.forward))
    parts = np.clip(end - steps, 0, 1) - np.clip(start - steps, 0, 1)  # of each step, within the interval
    used = np.flatnonzero(parts > 0)
    if len(used) == 1 and parts[used[0]] == 1:  # as it was measured
        return pair.forward[used[0]], pair.backward[used[0]], pair.backward_valid[used[0]]
    grid = pixel_grid(height, width)
    forward, backward, valid = np.zeros(grid.shape), np.zeros(grid.shape), np.ones((height, width), bool)
    for step in used:
        forward += parts[step] * bilinear(_last_axis(pair.forward[step]), grid + forward)
    for step in used[::-1]:
        there = grid + backward
        valid &= (bilinear(pair.backward_valid[step].astype(np.float64), there) > _VALID) | ~inside(
            there, height, width
        )
        backward += parts[step] * bilinear(_last_axis(pair.backward[step]), there)
    return _first_axis(forward), _first_axis(backward), valid


def _last_axis(flow: np.ndarray) -> np.ndarray:
    return np.moveaxis(flow, 0, -1).astype(np.float64)


def _first_axis(flow: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(flow, -1, 0), np.float32)
