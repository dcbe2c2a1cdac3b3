"""Dual-clock sampling (Time-to-Move, 2511.08633): a motion for models that were never trained for one.

A crude reference clip, the first frame moved along by hand, is noised to the `weak` level, and sampling begins there. Down to
the `strong` level what the motion tells is put back in after each step, x <- (1 - M) x + M (reference at this level); then
sampling goes on by itself. So where things go is held long, and what is only filled in is left to the model soon.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.motion.latents import latent_mask

from .loop import LoopState
from .motion import PlannedMotion
from .plan import StepRow
from .techniques import Technique


class DualClockTechnique(Technique):
    """One motion for a batch. pictures: each clip's first frame, uint8 [height, width, 3], which the reference moves along."""

    def __init__(self, motion: PlannedMotion, pictures: list[np.ndarray], backbone: Backbone) -> None:
        self._motion = motion
        references = np.stack([motion.plan.preview(picture, arrows=False) for picture in pictures])
        self._reference = backbone.encode(torch.from_numpy(references)).to(backbone.device, torch.float32)
        geometry = backbone.geometry
        mask = latent_mask(motion.plan, spatial=geometry.spatial, temporal=geometry.temporal, single_first=geometry.single_first)
        self._mask = torch.from_numpy(mask * motion.strength).to(self._reference)
        self._noise = torch.zeros(0)
        self._held = range(0)

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        control, solver = self._motion.control, state.solver
        assert control.weak is not None and control.strong is not None
        train = solver.config.num_train_timesteps
        first, last = (_nearest(plan, level * train) for level in (control.weak, control.strong))
        last = min(last, max((row.index for row in plan if row.expert == plan[0].expert), default=last))
        self._held = range(first, max(first, last) + 1)
        for row in plan:
            told = "skipped" if row.index < first else "held" if row.index < self._held.stop - 1 else "free"
            plan[row.index] = replace(row, motion=told)
        self._noise = state.latents / float(getattr(solver, "init_noise_sigma", 1.0))

    def start(self, state: LoopState) -> LoopState:
        first = self._held.start
        if hasattr(state.solver, "set_begin_index"):
            state.solver.set_begin_index(first)
        return replace(state, latents=self._at(state, first), index=first)

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        if state.index not in self._held:
            return state
        kept = torch.lerp(state.latents.float(), self._at(state, state.index), self._mask)
        return replace(state, latents=kept.to(state.latents.dtype))

    def _at(self, state: LoopState, index: int) -> torch.Tensor:
        """The reference with the clip's own noise at the level before step `index`, as the solver's latents are scaled."""
        solver = state.solver
        add = getattr(solver, "add_noise", None)
        timestep = solver.timesteps[index : index + 1]
        if add is None:
            return solver.scale_noise(self._reference, timestep, self._noise)
        return add(self._reference, self._noise, timestep.expand(len(self._reference)))


def _nearest(plan: list[StepRow], timestep: float) -> int:
    """The step whose timestep is nearest."""
    return min(plan, key=lambda row: abs(row.timestep - timestep)).index
