"""Dual-clock sampling as a technique of the loop: motion control for models that were never trained for it.

A coarse reference clip, the first frame moved along the motion, is noised to the `weak` level, where sampling begins,
and put back after each step down to the `strong` level. The method: `schedulers.dual_clock`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError
from videogen.core.logs import log_note
from videogen.motion.latents import latent_mask
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.schedulers.dual_clock import ClampSchedule, begins_step, clamp, plan_clamps
from videogen.schedulers.solver import Solver

from .motion_plan import PlannedMotion

_TOLERANCE = 0.05  # of the noise level: a step further away is worth a warning
_UNGUIDED = 0.25  # fraction of the training timesteps below which free steps of a global motion have no guidance


class DualClockTechnique(Technique):
    """The motion of each clip of a batch, by one control. first_frames: of each clip, uint8 [height, width, 3], which
    the reference moves."""

    def __init__(self, motions: list[PlannedMotion], first_frames: list[np.ndarray], backbone: Backbone) -> None:
        self._motion, geometry = motions[0], backbone.geometry
        references, masks = [], []
        for motion, frame in zip(motions, first_frames, strict=True):
            references.append(motion.plan.preview(frame, arrows=False))
            mask = latent_mask(
                motion.plan, spatial=geometry.spatial, temporal=geometry.temporal, single_first=geometry.single_first
            )
            masks.append(mask * motion.strength)
        clips = torch.from_numpy(np.stack(references))
        self._reference = backbone.encode(clips).to(backbone.device, torch.float32)
        self._mask = torch.from_numpy(np.stack(masks))[:, None].to(self._reference)
        self._noise = torch.zeros(0)
        self._clamps = ClampSchedule(range(0))
        self._levels = (0.0, 0.0)

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        control, solver = self._motion.control, state.solver
        assert control.weak is not None and control.strong is not None
        train = solver.train_steps
        self._clamps = clamps = build_clamp_schedule(plan, control.weak * train, control.strong * train, solver)
        self._levels = (plan[clamps.steps.start].timestep / train, clamps.until / train)
        if abs(self._levels[1] - control.strong) > _TOLERANCE:
            log_note(
                "dual_clock clamps the motion down to noise level %.3f, not to %g, which is outside its expert's steps",
                self._levels[1], control.strong,
            )  # fmt: skip
        is_global, step_timestep = self._motion.plan.layers[0].moves, 0.0
        for row, begins in zip(plan, begins_step([row.timestep for row in plan]), strict=True):
            step_timestep = row.timestep if begins else step_timestep
            label, scale = clamps.label(row.index), row.guidance_scale
            if is_global and label in ("partly", "free") and step_timestep < _UNGUIDED * train:
                # Guidance towards a prompt that does not mention the motion favours a still frame, and the content is
                # settled at this noise level (2404.07724).
                scale += self._motion.strength * (1 - scale)
            plan[row.index] = replace(row, motion=label, guidance_scale=scale)
        self._noise = state.latents.float() / solver.initial_scale

    def start(self, state: LoopState) -> LoopState:
        first = self._clamps.steps.start
        state.solver.begin_at(first)
        return replace(state, latents=self._reference_at(state, first).to(state.latents.dtype), index=first)

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        fraction = self._clamps.fraction_at(state.index)
        within_step = state.index < len(state.solver.timesteps) and not state.solver.begins_step(state.index)
        if not fraction or within_step:
            return state
        latents = clamp(state.latents, self._reference_at(state, state.index), self._mask, fraction)
        state.solver.note_changed_latents(state.index)
        return replace(state, latents=latents)

    def end(self) -> dict[str, Any]:
        """The noise levels between which the motion was clamped, as fractions of the training timesteps, and the
        number of steps."""
        weak, strong = (round(level, 4) for level in self._levels)
        return {
            "dual_clock": {
                "weak": weak,
                "strong": strong,
                "clamped_steps": round(len(self._clamps.steps) - 1 + self._clamps.fraction, 3),
            }
        }

    def _reference_at(self, state: LoopState, index: int) -> torch.Tensor:
        """The reference with the clip's noise at the level before step `index`, in the solver's scale."""
        return state.solver.noised(self._reference, self._noise, index)


def build_clamp_schedule(plan: list[StepRow], weak: float, strong: float, solver: Solver) -> ClampSchedule:
    """`plan_clamps` for a step plan. InputError also for solvers that cannot begin late."""
    if not solver.can_begin_late:
        raise InputError(
            "dual_clock cannot begin within pndm's warm-up steps; choose another solver, such as ddim or dpm++2m"
        )
    return plan_clamps([row.timestep for row in plan], weak, strong, [row.expert for row in plan])
