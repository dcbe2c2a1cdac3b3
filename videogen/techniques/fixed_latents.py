"""Fixed latents: frames whose final latents are known, as a clean prefix or by predictions that lead to them.

A clean prefix is what the model conditions on, marked by a timestep of 0 (Diffusion Forcing, 2407.01392; Wan 2.2 5B).
Legend: [b, c, f, h, w].
"""

from __future__ import annotations

from dataclasses import replace

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import UnsupportedError
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.schedulers.parametrization import prediction_for


class CleanPrefix(Technique):
    """Finished first frames of a clip: they stay as they are, and their timestep of 0 marks them as free of noise.

    latents [1, c, n, h, w]. For models that take one timestep per latent frame. The model is given these latents
    unscaled, whatever the solver's scale, and whatever other techniques do to them.
    """

    def __init__(self, latents: torch.Tensor) -> None:
        self.latents = latents

    @property
    def frames(self) -> int:
        return self.latents.shape[2]

    def start(self, state: LoopState) -> LoopState:
        return self._replace_prefix(state)

    def timestep(self, row: StepRow, timestep: torch.Tensor) -> torch.Tensor:
        per_frame = timestep.expand(self._frames).clone()
        per_frame[: self.frames] = 0
        return per_frame

    def model_input(self, row: StepRow, latents: torch.Tensor) -> torch.Tensor:
        return self._add_prefix(latents)

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        return self._replace_prefix(state)

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._frames = state.model_shape[2]

    def _replace_prefix(self, state: LoopState) -> LoopState:
        return replace(state, latents=self._add_prefix(state.latents))

    def _add_prefix(self, latents: torch.Tensor) -> torch.Tensor:
        latents = latents.clone()
        latents[:, :, : self.frames] = self.latents.to(latents)
        return latents


class StraightReplay(Technique):
    """Frames with known final latents: at each step they get the prediction that leads there from where they are.

    slots: frames of the clip; latents [1, c, n, h, w]: their final latents. For any solver and kind of prediction: the
    remaining difference is corrected after the last step, so that the frames between are generated to fit.
    """

    def __init__(self, slots: list[int], latents: torch.Tensor) -> None:
        self.slots, self.latents = slots, latents

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._kind, levels, self._last = state.solver.kind, state.solver.levels, len(plan) - 1
        if levels is None:
            raise UnsupportedError(f"{state.solver.name} does not expose its noise levels; redo with another solver")
        self._levels = levels

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        model_input = state.solver.scale_input(state.latents, row.index)[:, :, self.slots].float()
        leading = prediction_for(model_input, self.latents.to(model_input), self._levels[row.index], self._kind)
        corrected = prediction.clone()
        corrected[:, :, self.slots] = leading.to(corrected)
        return corrected

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        if row.index < self._last:
            return state
        latents = state.latents.clone()
        latents[:, :, self.slots] = self.latents.to(latents)
        return replace(state, latents=latents)
