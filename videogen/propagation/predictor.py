"""Extrapolation of cached features from the key steps to the steps between: hold them, or follow their line.

`line_weights` are Lagrange's, of the last key steps' values, newest first; they add up to 1. Order 1 in the log
signal-to-noise ratio fits the fresh predictions of diffusion models best (measured, see benchmarks); a second order
overshoots.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_FARTHEST = 4.0  # spans beyond the last that a line is trusted for
_STEEPEST = 2.0  # of the probe's gain


def line_weights(points: Sequence[float], position: float, trust: float = 1.0) -> tuple[float, ...]:
    """Weights of the values at `points` (newest first, one or two of them) that continue their line to `position`, or
    a part of the way.

    trust: the part, from 0 (hold) to 1. Hold (1.0,) where there is one point, where the two coincide, or where
    `position` is too far off for a line.
    """
    if len(points) < 2:
        return (1.0,)
    span = points[0] - points[1]
    gain = (position - points[0]) / span if abs(span) > 1e-9 else 0.0
    part = gain * trust
    return (1 + part, -part) if 0 < abs(gain) <= _FARTHEST and trust > 0 else (1.0,)


def combine(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """The values (newest first) under weights that add up to 1; the newest itself, bit for bit, if it has all
    weight."""
    newest = values[0]
    found = newest
    for value, weight in zip(values[1:], weights[1:], strict=False):
        found = found + (value - newest) * weight
    return found


def probe_gain(now: torch.Tensor, newest: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """How far a cheap feature has moved along its last change, per sample: [b, 1, ...] in 0 .. 2.

    The projection of now - newest on newest - before, as DiCache aligns its probe (2508.17356).
    """
    way, moved = (newest - before).flatten(1).float(), (now - newest).flatten(1).float()
    length = (way * way).sum(1).clamp_min(1e-12)
    gain = ((way * moved).sum(1) / length).clamp(0, _STEEPEST)
    return gain.view(-1, *[1] * (now.ndim - 1)).to(now.dtype)
