"""The schedule of one run, as propagation sees it, and the controller that decides its key steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from videogen.core.errors import InputError, UnsupportedError
from videogen.propagation.key_step_lists import checked_keys, published_keys, uniform_keys
from videogen.schedulers.levels import NoiseLevel, noise_levels
from videogen.schedulers.solvers import is_stochastic, prediction_kind

from .boundary import Boundary
from .calibration import factor_of
from .config import EncoderPropagation
from .controller import Controller, ErrorControl, FixedKeys

_SETTLING = 0.1  # share of the steps, from the noisiest, that are keys: errors there grow most
_FEWEST = 4  # of them


@dataclass(frozen=True)
class Schedule:
    """One run. timesteps [steps], from the first that is run; levels: noise before each step and after the last; kind
    of prediction.

    None: not known. whole: the scheduler's own tensor, a new one for each run.
    """

    timesteps: torch.Tensor | None
    levels: list[NoiseLevel] | None
    kind: str
    by_sigma: bool
    whole: torch.Tensor | None = None
    solver: str = ""
    stochastic: bool = False

    @property
    def steps(self) -> int | None:
        return None if self.timesteps is None else len(self.timesteps)

    def place(self, step: int, timestep: float) -> float:
        """A step's coordinate, in which features are continued: log SNR, or sigma, or the timestep where neither is
        known."""
        if self.levels is None:
            return -timestep
        level = self.levels[step]
        return -level.sigma / (level.sigma + level.alpha) if self.by_sigma else level.log_snr

    def step_of(self, timestep: float) -> int | None:
        """Which step has this timestep; None where none has."""
        if self.timesteps is None:
            return None
        gaps = (self.timesteps.double() - timestep).abs()
        nearest = int(gaps.argmin())
        return nearest if float(gaps[nearest]) <= 1e-3 * max(1.0, abs(timestep)) else None


def is_set(scheduler: Any) -> bool:
    """Whether a diffusers scheduler knows its run's timesteps."""
    return (
        getattr(scheduler, "timesteps", None) is not None and getattr(scheduler, "num_inference_steps", 1) is not None
    )


def read_schedule(scheduler: Any, by_sigma: bool, first: float | None = None) -> Schedule:
    """Of a diffusers scheduler, from the timestep `first` on. UnsupportedError where a solver calls the model twice a
    step."""
    if not is_set(scheduler):
        return Schedule(None, None, "epsilon", by_sigma)
    timesteps, name = scheduler.timesteps, type(scheduler).__name__
    if getattr(scheduler, "order", 1) > 1 or len(torch.unique(timesteps)) < len(timesteps):
        raise UnsupportedError(
            f"{name} calls the model twice in some steps, which propagation must not split; use a solver such as unipc"
        )
    whole = Schedule(
        timesteps,
        noise_levels(scheduler),
        prediction_kind(scheduler),
        by_sigma,
        timesteps,
        name,
        is_stochastic(scheduler),
    )
    begin = 0 if first is None else whole.step_of(first) or 0
    levels = None if whole.levels is None else whole.levels[begin:]
    return replace(whole, timesteps=timesteps[begin:], levels=levels)


def make_controller(
    config: EncoderPropagation, schedule: Schedule, boundary: Boundary, model: str | None
) -> Controller:
    """model: the name under which it was calibrated. InputError where the configuration misfits the schedule, or needs
    one."""
    keys, steps = config.keys, schedule.steps
    if config.max_error is not None:
        if schedule.levels is None or steps is None:
            raise InputError(
                "max_error needs each step's noise; give attach(..., scheduler=) with timesteps set, or use every:N"
            )
        if schedule.stochastic:
            raise UnsupportedError(
                f"{schedule.solver} adds noise at each step, for which no error can be promised; use every:N, or unipc"
            )
        factor = factor_of(boundary.name, model, schedule.solver, steps)
        first = max(_FEWEST, math.ceil(steps * _SETTLING)) if config.first is None else config.first
        return ErrorControl(config.max_error, factor, schedule.levels, boundary.order, first, config.last)
    if isinstance(keys, str) and keys.startswith("every:"):
        return FixedKeys(uniform_keys(int(keys[6:]), steps or 100_000), steps or 100_000)
    if isinstance(keys, tuple) and steps is None:
        return FixedKeys(keys, max(keys) + 1)
    if steps is None:
        raise InputError(
            f"the list {keys!r} is scaled to the run's steps; give attach(..., scheduler=) with its timesteps set"
        )
    if isinstance(keys, str):
        return FixedKeys(published_keys(keys, steps), steps)
    assert keys is not None
    return FixedKeys(checked_keys(keys, steps), steps)
