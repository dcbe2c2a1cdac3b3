"""Dual-clock sampling (Time-to-Move, 2511.08633), as functions of latents: motion control for models that were never
trained for it.

A coarse reference clip is noised to the `weak` level, where sampling begins. Down to the `strong` level the controlled
region is put back after each step, x <- (1 - M) x + M (reference at this level); below it, sampling continues freely.
So the position of objects is clamped for long, while regions that the motion uncovers are soon left to the model. A
step that crosses the `strong` level is clamped by the fraction of it above that level, so that few steps have the same
effect as many.

A host that owns the loop clamps its latents:

    clamps = plan_clamps(timesteps, weak=900, strong=600)
    x = noised(reference, noise, levels[clamps.steps.start])
    for step in range(clamps.steps.start, len(timesteps)):
        x = sampler_step(x, step)
        x = clamp(x, noised(reference, noise, levels[step + 1]), mask, clamps.fraction_at(step + 1))

One that is only called around the model clamps what the model is given and the clean latents that it predicts:

        x = clamp(x, noised(reference, noise, levels[step]), mask, clamps.input_fraction(step))
        clean = clamp(model(x), reference, mask, clamps.prediction_fraction(step))

With Euler's method and a mask of zeros and ones the two are equal, up to rounding. Legend: [b, c, f, h, w]. Importing
this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from videogen.core.errors import InputError

from .levels import NoiseLevel

if TYPE_CHECKING:
    import torch


def clamp(latents: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, fraction: float = 1.0) -> torch.Tensor:
    """Latents [b, c, f, h, w] with `target` in place of the region: (1 - w) latents + w target, w = fraction * mask.

    mask: from 0 to 1, of a shape that broadcasts. Computed in fp32, returned in the dtype of the latents; where w is 0
    or 1, the result is one of the two, bit for bit. The same object where `fraction` is 0.
    """
    import torch

    if fraction == 0:
        return latents
    return torch.lerp(latents.float(), target.float(), fraction * mask.float()).to(latents.dtype)


def noised(clean: torch.Tensor, noise: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    """Clean latents with noise at this level, in the scale in which the model sees them."""
    return level.alpha * clean + level.sigma * noise


@dataclass(frozen=True)
class ClampSchedule:
    """Steps before which the reference is put back: fully before each of `steps`, and by `fraction` before `after`.

    Sampling begins at the first of `steps`. until: the timestep down to which the motion is clamped, between those of
    the last step and of `after`.
    """

    steps: range
    after: int = 0
    fraction: float = 0.0
    until: float = 0.0

    def fraction_at(self, index: int) -> float:
        """Weight of the reference before step `index`."""
        return 1.0 if index in self.steps else self.fraction if index == self.after else 0.0

    def input_fraction(self, index: int) -> float:
        """Weight of the noised reference in the model's input at step `index`, for hosts that cannot change the
        sampler's latents."""
        return 1.0 if index in self.steps else 0.0

    def prediction_fraction(self, index: int) -> float:
        """Weight of the reference in the clean latents that are predicted at step `index`, for the same hosts: with it,
        the step leads to where the sampler's latents would be put back."""
        return self.fraction_at(index + 1) if index in self.steps else 0.0

    def label(self, index: int) -> str:
        """The `motion` of row `index` in the step plan."""
        if index < self.steps.start:
            return "skipped"
        if index < self.steps.stop - 1:
            return "clamped"
        return "partly" if index < self.after and self.fraction else "free"


@dataclass(frozen=True)
class _Call:
    index: int
    timestep: float
    expert: object


def plan_clamps(
    timesteps: Sequence[float], weak: float, strong: float, experts: Sequence[object] | None = None
) -> ClampSchedule:
    """The steps that clamp a motion between two timesteps: from the step nearest to `weak` on, within one expert.

    timesteps: of each model call, falling, in any unit that grows with the noise, such as sigma of a flow model; weak
    and strong in the same unit. A second call of a step (Heun) has the timestep of the next. experts: which model each
    call is of; None: one. InputError where no two steps of one expert follow each other.
    """
    which = [0] * len(timesteps) if experts is None else list(experts)
    rows = [_Call(index, float(t), expert) for index, (t, expert) in enumerate(zip(timesteps, which, strict=True))]
    steps = [row for row, begins in zip(rows, begins_step(timesteps), strict=True) if begins]
    candidates = [row for row, after in pairwise(steps) if after.expert == row.expert]
    if not candidates:
        raise InputError(
            f"dual_clock cannot clamp a motion in {len(rows)} steps: it needs two of one expert; use more steps"
        )
    first = min(candidates, key=lambda row: abs(row.timestep - weak))
    own = [row for row in steps if row.expert == first.expert and row.index >= first.index]
    last = [row for row in own if row is first or row.timestep >= strong][-1]
    rest = [row for row in steps if row.index > last.index]
    after, end = (rest[0].index, rest[0].timestep) if rest else (len(rows), 0.0)
    crosses = last.timestep > max(strong, end) and (not rest or rest[0].expert == last.expert)
    fraction = min(1.0, (last.timestep - strong) / (last.timestep - end)) if crosses else 0.0
    until = last.timestep - fraction * (last.timestep - end)
    return ClampSchedule(range(first.index, last.index + 1), after, fraction, until)


def begins_step(timesteps: Sequence[float]) -> list[bool]:
    """Whether a step begins with each call. The second call of a Heun step has the timestep of the next one."""
    last = len(timesteps) - 1
    return [index >= last or timesteps[index] != timesteps[index + 1] for index in range(len(timesteps))]
