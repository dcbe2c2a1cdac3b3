"""The schedule of one run, as propagation sees it, and the controller that decides its key steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from videogen.core.errors import InputError, UnsupportedError
from videogen.schedulers.keysteps import checked_keys, published_keys, uniform_keys
from videogen.schedulers.levels import NoiseLevel, noise_levels
from videogen.schedulers.solvers import prediction_kind

from .boundary import Boundary
from .calibration import factor_of
from .config import EncoderPropagation
from .controller import Controller, ErrorControl, FixedKeys

_SETTLING = 0.1  # share of the steps, from the noisiest, that are keys: errors there grow most


@dataclass(frozen=True)
class Schedule:
    """timesteps [steps] of a run; levels: noise before each step and after the last; kind of prediction. None: not known."""

    timesteps: torch.Tensor | None
    levels: list[NoiseLevel] | None
    kind: str
    by_sigma: bool

    @property
    def steps(self) -> int | None:
        return None if self.timesteps is None else len(self.timesteps)

    def place(self, step: int, timestep: float) -> float:
        """A step's coordinate, in which features are continued: log SNR, or sigma, or the timestep where neither is known."""
        if self.levels is None:
            return -timestep
        level = self.levels[step]
        return -level.sigma / (level.sigma + level.alpha) if self.by_sigma else level.log_snr

    def is_of(self, scheduler: Any) -> bool:
        """Whether a scheduler still has these timesteps."""
        now = getattr(scheduler, "timesteps", None)
        if now is None or self.timesteps is None:
            return now is self.timesteps
        return now is self.timesteps or (now.shape == self.timesteps.shape and bool(torch.equal(now, self.timesteps)))


def read_schedule(scheduler: Any, config: EncoderPropagation) -> Schedule:
    """Of a diffusers scheduler whose timesteps are set. UnsupportedError where a solver calls the model twice a step."""
    by_sigma = config.predictor == "sigma"
    timesteps = getattr(scheduler, "timesteps", None)
    if timesteps is None or getattr(scheduler, "num_inference_steps", 1) is None:
        return Schedule(timesteps, None, "epsilon", by_sigma)
    if len(torch.unique(timesteps)) < len(timesteps):
        name = type(scheduler).__name__
        raise UnsupportedError(f"{name} calls the model twice in some steps, which propagation must not split; use a solver such as unipc")
    return Schedule(timesteps, noise_levels(scheduler), prediction_kind(scheduler), by_sigma)


def make_controller(config: EncoderPropagation, schedule: Schedule, boundary: Boundary, model: str | None) -> Controller:
    """model: the name under which it was calibrated. InputError where the configuration misfits the schedule, or needs one."""
    keys, steps = config.keys, schedule.steps
    if config.max_error is not None:
        if schedule.levels is None or steps is None:
            raise InputError("max_error needs each step's noise; give attach(..., scheduler=) with timesteps set, or use every:N")
        first = math.ceil(steps * _SETTLING) if config.first is None else config.first
        factor = factor_of(boundary.name, model)
        return ErrorControl(config.max_error, factor, schedule.levels, boundary.order, first, config.last)
    if isinstance(keys, str) and keys.startswith("every:"):
        return FixedKeys(uniform_keys(int(keys[6:]), steps or 100_000), steps or 100_000)
    if isinstance(keys, tuple) and steps is None:
        return FixedKeys(keys, max(keys) + 1)
    if steps is None:
        raise InputError(f"the list {keys!r} is scaled to the run's steps; give attach(..., scheduler=) with its timesteps set")
    if isinstance(keys, str):
        return FixedKeys(published_keys(keys, steps), steps)
    assert keys is not None
    return FixedKeys(checked_keys(keys, steps), steps)
