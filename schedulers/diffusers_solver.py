"""Solver adapter for diffusers' schedulers. It and `diffusers_scheduler`, which builds them, know their classes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch

from .levels import NoiseLevel
from .noise.source import NoiseSource
from .parametrization import FLOW
from .schedule_file import flow_shift_of, prediction_kind_of
from .solver import NoiseSchedule, Solver, join_frames, split_frames

_TRAIN_STEPS = 1000  # where a scheduler does not state it
_TO_DATA = ("MiniMaxH3Scheduler",)  # their model predicts the velocity to the data, which is none of `KINDS`


class DiffusersSolver(Solver):
    """Wraps a diffusers scheduler, without copying it, whose timesteps are set or will be."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.name = type(scheduler).__name__

    def fresh_scheduler(self) -> Any:
        """A diffusers scheduler of the same class and settings whose timesteps are not set."""
        return type(self._scheduler).from_config(self._scheduler.config)

    @property
    def kind(self) -> str:
        return prediction_kind(self._scheduler)

    @property
    def stochastic(self) -> bool:
        config = self._scheduler.config
        noisy = any(word in self.name for word in ("Ancestral", "LCM", "DDPM", "TCD", "SDE", "EDMDPM"))
        return noisy or str(config.get("algorithm_type", "")).startswith("sde")

    @property
    def train_steps(self) -> int:
        return int(self._scheduler.config.get("num_train_timesteps", _TRAIN_STEPS))

    @property
    def initial_scale(self) -> float:
        return float(getattr(self._scheduler, "init_noise_sigma", 1.0))

    @property
    def can_begin_late(self) -> bool:
        return not hasattr(self._scheduler, "ets")  # PNDM's multistep history begins with its first step

    @property
    def timesteps(self) -> torch.Tensor:
        timesteps: torch.Tensor = self._scheduler.timesteps
        return timesteps

    @property
    def is_set(self) -> bool:
        timesteps, sigmas = (getattr(self._scheduler, name, None) for name in ("timesteps", "sigmas"))
        if timesteps is None:
            return False
        # a flow scheduler that was never set has the training timesteps, without the final sigma
        fresh_flow = self.kind == FLOW and sigmas is not None and len(sigmas) == len(timesteps)
        has_steps = getattr(self._scheduler, "num_inference_steps", None if fresh_flow else 1)
        return has_steps is not None

    @property
    def calls_per_step(self) -> int:
        repeated = len(torch.unique(self.timesteps)) < len(self.timesteps)
        return 2 if getattr(self._scheduler, "order", 1) > 1 or repeated else 1

    @property
    def levels(self) -> list[NoiseLevel] | None:
        if self.name in _TO_DATA:
            return None
        steps = len(self.timesteps)
        sigmas = getattr(self._scheduler, "sigmas", None)
        if sigmas is not None and len(sigmas) == steps + 1:
            return [NoiseLevel.from_sigma(float(s), flow=self.kind == FLOW) for s in sigmas]
        products = getattr(self._scheduler, "alphas_cumprod", None)
        if products is None:
            return None
        found = [float(products[min(max(round(float(t)), 0), len(products) - 1)]) for t in self.timesteps]
        return [NoiseLevel(math.sqrt(k), math.sqrt(1 - k)) for k in found] + [NoiseLevel(1.0, 0.0)]

    def sigma(self, index: int) -> float | None:
        sigmas = getattr(self._scheduler, "sigmas", None)
        return float(sigmas[index]) if sigmas is not None and len(sigmas) >= len(self.timesteps) else None

    def begins_step(self, index: int) -> bool:
        last = index + 1 >= len(self.timesteps)
        return last or float(self.timesteps[index]) != float(self.timesteps[index + 1])

    def begin_at(self, index: int) -> None:
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(index)

    def scale_input(self, latents: torch.Tensor, index: int) -> torch.Tensor:
        scale = getattr(self._scheduler, "scale_model_input", None)
        return latents if scale is None else scale(latents, self.timesteps[index])

    def step(
        self, prediction: torch.Tensor, index: int, latents: torch.Tensor, sources: Sequence[NoiseSource]
    ) -> torch.Tensor:
        if "generator" not in inspect.signature(type(self._scheduler).step).parameters:
            return self._step(prediction, index, latents)
        batch, frames = latents.shape[0], latents.shape[2]
        generators = [g for source in sources for g in source.generators(index, frames)]
        drawn = generators[0] if len(generators) == 1 else generators
        if len(generators) <= batch:
            return self._step(prediction, index, latents, generator=drawn)
        # One generator per frame: each frame becomes a sample of its own, which solvers treat alike.
        stepped = self._step(split_frames(prediction), index, split_frames(latents), generator=drawn)
        return join_frames(stepped, batch)

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
        if index >= len(self.timesteps):
            return clean
        add = getattr(self._scheduler, "add_noise", None)
        timestep = self.timesteps[index : index + 1]
        if add is None:
            mixed: torch.Tensor = self._scheduler.scale_noise(clean, timestep, noise)
            return mixed
        added: torch.Tensor = add(clean, noise, timestep.expand(len(clean)))
        return added

    def note_changed_latents(self, index: int) -> None:
        # UniPC's corrector would go back to what the latents were before they were changed.
        if hasattr(self._scheduler, "disable_corrector"):
            self._scheduler.disable_corrector = [*self._scheduler.disable_corrector, index - 1]

    def _step(self, prediction: torch.Tensor, index: int, latents: torch.Tensor, **options: Any) -> torch.Tensor:
        stepped: torch.Tensor = self._scheduler.step(
            prediction, self.timesteps[index], latents, return_dict=False, **options
        )[0]
        return stepped


def as_solver(scheduler: Any) -> Solver:
    """The solver interface of a diffusers scheduler; a solver is returned as it is."""
    return scheduler if isinstance(scheduler, Solver) else DiffusersSolver(scheduler)


def prediction_kind(scheduler: Any) -> str:
    """What the model behind this diffusers scheduler predicts, one of `KINDS`."""
    return prediction_kind_of(type(scheduler).__name__, scheduler.config)


def read_noise_schedule(scheduler: Any) -> NoiseSchedule:
    """The noise schedule that a checkpoint's diffusers scheduler was made for."""
    kind, train_steps = prediction_kind(scheduler), int(scheduler.config.get("num_train_timesteps", _TRAIN_STEPS))
    if kind == FLOW:
        return NoiseSchedule(kind, train_steps, shift=flow_shift(scheduler))
    products = getattr(scheduler, "alphas_cumprod", None)  # schedulers after Karras have sigmas alone
    alphas = () if products is None else tuple(products.double().sqrt().tolist())
    return NoiseSchedule(kind, train_steps, alphas=alphas)


def flow_shift(scheduler: Any) -> float:
    """By how much a flow model's sigmas are shifted towards noise; 1: not at all."""
    return flow_shift_of(scheduler.config)
