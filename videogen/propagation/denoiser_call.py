"""One call of a denoiser as a host makes it: latents, timestep, conditions, what runs it, and what is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from .cut import Forward
from .supervision import CallContext


@dataclass(frozen=True)
class DenoiserCall:
    """One call of a denoiser.

    latents: the part of its input that is denoised, in any layout; it may also have channels that carry a condition
    behind them. timestep: as a number, in the units of the schedule. forward: runs the call; it may be called more
    than once. conditions: all other inputs, which must not change between a key step and the steps that propagate from
    it. known_ahead: whether only latents and timestep change between steps, so that later calls can be made ahead.
    """

    latents: torch.Tensor
    timestep: float
    forward: Forward
    conditions: Mapping[str, object] = field(default_factory=dict)
    known_ahead: bool = False


@dataclass(frozen=True)
class Decision:
    """A call and what is done with it. stride: steps since its branch was last called, as windows may take turns."""

    context: CallContext
    call: DenoiserCall
    is_key_step: bool
    stride: int


def changed_conditions(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """The names of the conditions that differ between two calls."""
    return [name for name in before.keys() | now.keys() if not equal_conditions(before.get(name), now.get(name))]


def equal_conditions(a: object, b: object) -> bool:
    """Whether two conditions are equal, tensors by value."""
    if a is b:
        return True
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal_conditions(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(equal_conditions(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and not isinstance(a, torch.Tensor) and bool(a == b)
