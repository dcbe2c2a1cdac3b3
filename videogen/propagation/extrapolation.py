"""Extrapolation of cached features from the key steps to the steps between: hold them, or extrapolate linearly.

`line_weights` are the Lagrange weights of the values at the last key steps, newest first; they add up to 1. Order 1 in
the log signal-to-noise ratio fits the fresh predictions of diffusion models best (measured, see benchmarks); a second
order overshoots.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_FARTHEST = 4.0  # in spans of the last two key steps: the farthest extrapolation that is trusted
_STEEPEST = 2.0  # the largest gain of a probe


def line_weights(points: Sequence[float], position: float, trust: float = 1.0) -> tuple[float, ...]:
    """Weights that extrapolate the values at `points` (newest first, one or two of them) linearly to `position`.

    trust: the fraction of the extrapolation to make, from 0 (hold) to 1. The result is (1.0,), which holds the newest
    value, if there is one point, if the two coincide, or if `position` is too far away.
    """
    if len(points) < 2:
        return (1.0,)
    span = points[0] - points[1]
    gain = (position - points[0]) / span if abs(span) > 1e-9 else 0.0
    part = gain * trust
    return (1 + part, -part) if 0 < abs(gain) <= _FARTHEST and trust > 0 else (1.0,)


def combine(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """The weighted sum of the values (newest first); weights add up to 1. With weight 1 the newest is returned as it
    is, bit for bit."""
    newest = values[0]
    found = newest
    for value, weight in zip(values[1:], weights[1:], strict=False):
        found = found + (value - newest) * weight
    return found


def probe_gain(now: torch.Tensor, newest: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """How far a cheap feature has moved along its last change, per sample: [b, 1, ...] from 0 to 2.

    It is the projection of now - newest onto newest - before, as DiCache aligns its probe (2508.17356).
    """
    way, moved = (newest - before).flatten(1).float(), (now - newest).flatten(1).float()
    length = (way * way).sum(1).clamp_min(1e-12)
    gain = ((way * moved).sum(1) / length).clamp(0, _STEEPEST)
    return gain.view(-1, *[1] * (now.ndim - 1)).to(now.dtype)
