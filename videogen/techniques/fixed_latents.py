"""Frames whose final latents are known: a clean prefix that the model conditions on, and frames led to a known end.

Clean prefix: Diffusion Forcing (2407.01392) and Wan 2.2 5B, by a timestep of 0 for the finished frames. Legend: [b, c,
f, h, w].
"""

from __future__ import annotations

from dataclasses import replace

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import UnsupportedError
from videogen.sampling.loop import LoopState, scale_input
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Call, Technique
from videogen.schedulers.levels import NoiseLevel, noise_levels
from videogen.schedulers.solvers import prediction_kind


class CleanPrefix(Technique):
    """A clip's first frames are finished: they stay as they are and the model is told that they hold no noise.

    latents [1, c, n, h, w]. For models that take a timestep for each latent frame. The model sees them as they are,
    whatever a solver scales its latents by, and whatever others do to these.
    """

    def __init__(self, latents: torch.Tensor) -> None:
        self.latents = latents

    @property
    def frames(self) -> int:
        return self.latents.shape[2]

    def start(self, state: LoopState) -> LoopState:
        return self._put(state)

    def timestep(self, row: StepRow, timestep: torch.Tensor) -> torch.Tensor:
        told = timestep.expand(self._frames).clone()
        told[: self.frames] = 0
        return told

    def evaluate(
        self, row: StepRow, branch: str, latents: torch.Tensor, text: torch.Tensor, call: Call
    ) -> torch.Tensor:
        return call(self._with_prefix(latents), text)

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        return self._put(state)

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._frames = state.seen_shape[2]

    def _put(self, state: LoopState) -> LoopState:
        return replace(state, latents=self._with_prefix(state.latents))

    def _with_prefix(self, latents: torch.Tensor) -> torch.Tensor:
        latents = latents.clone()
        latents[:, :, : self.frames] = self.latents.to(latents)
        return latents


class StraightReplay(Technique):
    """Frames whose end is known go there: at each step they get the prediction that leads from where they are to it.

    slots: of the clip; latents [1, c, n, h, w]: how they end. Whatever the solver and the kind of prediction: what it
    leaves is put right after the last step, so that what lies between is made to fit them as they are.
    """

    def __init__(self, slots: list[int], latents: torch.Tensor) -> None:
        self.slots, self.latents = slots, latents

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._kind, levels, self._last = prediction_kind(state.solver), noise_levels(state.solver), len(plan) - 1
        if levels is None:
            raise UnsupportedError(
                f"{type(state.solver).__name__} does not tell its noise levels; redo with another solver"
            )
        self._levels = levels

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        seen = scale_input(state.solver, state.latents, state.solver.timesteps[row.index])[:, :, self.slots].float()
        told = prediction.clone()
        told[:, :, self.slots] = self._leading(seen, self.latents.to(seen), self._levels[row.index]).to(told)
        return told

    def _leading(self, seen: torch.Tensor, clean: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        """The prediction, of the model's kind, by which `seen` = alpha clean + sigma noise."""
        if self._kind == "sample":
            return clean
        noise = (seen - level.alpha * clean) / max(level.sigma, 1e-6)
        if self._kind == "epsilon":
            return noise
        return noise - clean if self._kind == "flow" else level.alpha * noise - level.sigma * clean

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        if row.index < self._last:
            return state
        latents = state.latents.clone()
        latents[:, :, self.slots] = self.latents.to(latents)
        return replace(state, latents=latents)
