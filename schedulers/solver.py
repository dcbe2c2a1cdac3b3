"""Solver interface: what the engine asks of a sampler, whether it is diffusers' or our own.

`DiffusersSolver` adapts a diffusers scheduler; `LevelSolver` is the base of a solver written here, which needs one
method. Both are made by `build_solver` from a row of the table in `solvers`. Legend: [b, c, f, h, w]; a step index
counts model calls from 0.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .dual_clock import noised
from .levels import NoiseLevel
from .parametrization import FLOW, clean_latents, implied_noise

if TYPE_CHECKING:
    import torch

    from .noise.source import NoiseSource


_NO_SIGNAL = 1e-3


@dataclass(frozen=True)
class NoiseSchedule:
    """How a checkpoint was noised in training.

    kind: what it predicts, one of `KINDS`. train_steps: number of training timesteps. alphas: sqrt of the cumulated
    product per timestep, empty for flow models; shift: of a flow model's sigmas.
    """

    kind: str
    train_steps: int
    alphas: tuple[float, ...] = ()
    shift: float = 1.0

    @property
    def zero_snr(self) -> bool:
        """Whether a variance-preserving model was trained down to a level without signal (2305.08891)."""
        return bool(self.alphas) and self.alphas[-1] < _NO_SIGNAL

    def spaced(self, steps: int) -> tuple[list[float], list[NoiseLevel]]:
        """(timestep of each step, level before each step and after the last), evenly spaced from full noise."""
        if self.kind == FLOW:
            fractions = [1 - step / steps for step in range(steps)]
            sigmas = [self.shift * t / (1 + (self.shift - 1) * t) for t in fractions]
            return [sigma * self.train_steps for sigma in sigmas], [NoiseLevel(1 - s, s) for s in [*sigmas, 0.0]]
        timesteps = [round(self.train_steps * (1 - step / steps)) - 1 for step in range(steps)]
        levels = [NoiseLevel(self.alphas[t], max(0.0, 1 - self.alphas[t] ** 2) ** 0.5) for t in timesteps]
        return [float(t) for t in timesteps], [*levels, NoiseLevel(1.0, 0.0)]


class Solver(ABC):
    """One sampler set up for one run, with its history. Not shared between runs; `copy` before going back.

    name: stable, calibrations are stored under it. kind: what the model predicts, one of `KINDS`. stochastic: whether
    a step adds fresh noise. train_steps: timesteps of the training schedule. initial_scale: latents at the start are
    standard normal noise times this. can_begin_late: whether sampling may begin after the first step.
    """

    name: str

    @property
    @abstractmethod
    def kind(self) -> str: ...

    @property
    def stochastic(self) -> bool:
        return False

    @property
    @abstractmethod
    def train_steps(self) -> int: ...

    @property
    def initial_scale(self) -> float:
        return 1.0

    @property
    def can_begin_late(self) -> bool:
        return True

    @property
    @abstractmethod
    def timesteps(self) -> torch.Tensor:
        """Timestep of each model call [calls], from the noisiest; the same object throughout a run."""

    @property
    @abstractmethod
    def levels(self) -> list[NoiseLevel] | None:
        """Noise level before each call and after the last, [calls + 1]; None where it is not known."""

    @property
    def is_set(self) -> bool:
        """Whether the run's timesteps are known yet."""
        return True

    @property
    def calls_per_step(self) -> int:
        """Largest number of model calls in one step: 2 for Heun."""
        return 1

    def sigma(self, index: int) -> float | None:
        """The solver's own sigma at a call, for the step plan; None where it has none."""
        return None

    def begins_step(self, index: int) -> bool:
        """Whether a step begins with this call: always, but for the second call of a Heun step."""
        return True

    def begin_at(self, index: int) -> None:
        """Begin sampling at this call. Call it before the first `step`."""
        return None

    def scale_input(self, latents: torch.Tensor, index: int) -> torch.Tensor:
        """The latents [b, c, f, h, w] in the scale in which the model sees them."""
        return latents

    @abstractmethod
    def step(
        self, prediction: torch.Tensor, index: int, latents: torch.Tensor, sources: Sequence[NoiseSource]
    ) -> torch.Tensor:
        """The latents after this call. All [b, c, f, h, w]; sources: one per sample, for solvers that add noise."""

    @abstractmethod
    def noised(self, clean: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
        """Clean latents with noise at the level before call `index`, in the solver's scale; clean past the last."""

    def note_changed_latents(self, index: int) -> None:
        """The latents before call `index` are not what `step` returned: forget what no longer holds."""
        return None

    def copy(self) -> Solver:
        """A solver with the same history, which later steps of this one do not touch."""
        timesteps = self.timesteps
        return copy.deepcopy(self, {id(timesteps): timesteps})


class LevelSolver(Solver):
    """Base of a solver written here. Subclasses define `advance`; and `stochastic` where it draws noise."""

    stochastic = False

    def __init__(self, schedule: NoiseSchedule, steps: int, device: torch.device) -> None:
        import torch

        timesteps, self._levels = self.space_steps(schedule, steps)
        self._timesteps = torch.tensor(timesteps, device=device)
        self.name, self._schedule = type(self).__name__, schedule

    def space_steps(self, schedule: NoiseSchedule, steps: int) -> tuple[list[float], list[NoiseLevel]]:
        """(timestep of each step, level before each step and after the last); override it for another spacing."""
        return schedule.spaced(steps)

    @property
    def kind(self) -> str:
        return self._schedule.kind

    @property
    def train_steps(self) -> int:
        return self._schedule.train_steps

    @property
    def timesteps(self) -> torch.Tensor:
        return self._timesteps

    @property
    def levels(self) -> list[NoiseLevel]:
        return self._levels

    def sigma(self, index: int) -> float:
        return self._levels[index].sigma

    @abstractmethod
    def advance(
        self, clean: torch.Tensor, noise: torch.Tensor, now: NoiseLevel, after: NoiseLevel, fresh: torch.Tensor | None
    ) -> torch.Tensor:
        """The latents at the level `after`.

        clean, noise: what the prediction implies at the level `now`, fp32 [b, c, f, h, w]; fresh: standard normal noise
        of that shape where the solver is stochastic, else None.
        """

    def step(
        self, prediction: torch.Tensor, index: int, latents: torch.Tensor, sources: Sequence[NoiseSource]
    ) -> torch.Tensor:
        now, after = self._levels[index], self._levels[index + 1]
        given = latents.float(), prediction.float()
        clean, noise = (convert(*given, now, self.kind) for convert in (clean_latents, implied_noise))
        fresh = self._fresh_noise(latents, index, sources) if self.stochastic else None
        return self.advance(clean, noise, now, after, fresh).to(latents.dtype)

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
        return noised(clean, noise, self._levels[index])

    def _fresh_noise(self, like: torch.Tensor, index: int, sources: Sequence[NoiseSource]) -> torch.Tensor:
        """Noise of each sample's own source, frame by frame where the source is addressed."""
        from diffusers.utils.torch_utils import randn_tensor

        batch, _, frames, *_ = like.shape
        generators = [g for source in sources for g in source.generators(index, frames)]
        drawn = generators[0] if len(generators) == 1 else generators
        if len(generators) <= batch:
            return randn_tensor(like.shape, drawn, like.device)
        per_frame = randn_tensor(split_frames(like).shape, drawn, like.device)
        return join_frames(per_frame, batch)


def split_frames(latents: torch.Tensor) -> torch.Tensor:
    """[b, c, f, h, w] as [b * f, c, 1, h, w]: each frame is a sample with a generator of its own."""
    from einops import rearrange

    return rearrange(latents, "b c f h w -> (b f) c 1 h w")


def join_frames(samples: torch.Tensor, batch: int) -> torch.Tensor:
    """The reverse of `split_frames`."""
    from einops import rearrange

    return rearrange(samples, "(b f) c 1 h w -> b c f h w", b=batch).contiguous()
