"""Step schedule of one run: its timesteps, noise levels and kind of prediction, as propagation needs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from videogen.core.errors import UnsupportedError
from videogen.schedulers.levels import NoiseLevel, noise_levels
from videogen.schedulers.solvers import is_stochastic, prediction_kind

#: A scheduler of diffusers, or None.
Scheduler: TypeAlias = Any


@dataclass(frozen=True)
class RunSchedule:
    """One run. timesteps [steps], from the first that is run; levels: noise before each step and after the last; kind
    of prediction. None: not known.

    all_timesteps: the scheduler's own tensor, a new one for each run. by_sigma: features are extrapolated in sigma
    instead of the log signal-to-noise ratio.
    """

    timesteps: torch.Tensor | None
    levels: list[NoiseLevel] | None
    kind: str
    by_sigma: bool
    all_timesteps: torch.Tensor | None = None
    solver: str = ""
    stochastic: bool = False

    @property
    def steps(self) -> int | None:
        return None if self.timesteps is None else len(self.timesteps)

    def position(self, step: int, timestep: float) -> float:
        """A step's coordinate, in which features are extrapolated: log SNR, or sigma, or the timestep where neither is
        known."""
        if self.levels is None:
            return -timestep
        level = self.levels[step]
        return -level.sigma / (level.sigma + level.alpha) if self.by_sigma else level.log_snr

    def step_of(self, timestep: float) -> int | None:
        """The step that has this timestep; None where none has."""
        if self.timesteps is None:
            return None
        gaps = (self.timesteps.double() - timestep).abs()
        nearest = int(gaps.argmin())
        return nearest if float(gaps[nearest]) <= 1e-3 * max(1.0, abs(timestep)) else None


def is_set(scheduler: Scheduler) -> bool:
    """Whether a diffusers scheduler knows its run's timesteps."""
    return (
        getattr(scheduler, "timesteps", None) is not None and getattr(scheduler, "num_inference_steps", 1) is not None
    )


def read_schedule(scheduler: Scheduler, by_sigma: bool, first: float | None = None) -> RunSchedule:
    """Of a diffusers scheduler, from the timestep `first` on. UnsupportedError where a solver calls the model twice per
    step."""
    if not is_set(scheduler):
        return RunSchedule(None, None, "epsilon", by_sigma)
    timesteps, name = scheduler.timesteps, type(scheduler).__name__
    if getattr(scheduler, "order", 1) > 1 or len(torch.unique(timesteps)) < len(timesteps):
        raise UnsupportedError(
            f"{name} calls the model twice in some steps, which propagation must not split; use a solver such as unipc"
        )
    full = RunSchedule(
        timesteps=timesteps,
        levels=noise_levels(scheduler),
        kind=prediction_kind(scheduler),
        by_sigma=by_sigma,
        all_timesteps=timesteps,
        solver=name,
        stochastic=is_stochastic(scheduler),
    )
    begin = 0 if first is None else full.step_of(first) or 0
    levels = None if full.levels is None else full.levels[begin:]
    return replace(full, timesteps=timesteps[begin:], levels=levels)
