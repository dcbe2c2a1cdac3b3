"""Dual-clock sampling (Time-to-Move, 2511.08633): a motion for models that were never trained for one.

A crude reference clip, the first frame moved along by hand, is noised to the `weak` level, and sampling begins there.
Down to the `strong` level what the motion tells is put back in after each step, x <- (1 - M) x + M (reference at this
level); then sampling goes on by itself. So where things go is held long, and what is only filled in is left to the
model soon. A step that crosses the `strong` level is held by its share above it, so that few steps mean the same as
many.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError
from videogen.motion.latents import latent_mask
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.schedulers.solver import Solver

from .motion_plan import PlannedMotion

_log = logging.getLogger("videogen")
_NEAR = 0.05  # of the noise level: a step further off is worth a word
_UNGUIDED = 0.25  # share of the training timesteps under which no step is guided that goes on by itself, where the whole picture moves


class DualClockTechnique(Technique):
    """One motion for a batch. pictures: each clip's first frame, uint8 [height, width, 3], which the reference moves
    along."""

    def __init__(self, motion: PlannedMotion, pictures: list[np.ndarray], backbone: Backbone) -> None:
        self._motion = motion
        references = np.stack([motion.plan.preview(picture, arrows=False) for picture in pictures])
        self._reference = backbone.encode(torch.from_numpy(references)).to(backbone.device, torch.float32)
        geometry = backbone.geometry
        mask = latent_mask(
            motion.plan, spatial=geometry.spatial, temporal=geometry.temporal, single_first=geometry.single_first
        )
        self._mask = torch.from_numpy(mask * motion.strength).to(self._reference)
        self._noise = torch.zeros(0)
        self._held = Held(range(0))
        self._levels = (0.0, 0.0)

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        control, solver = self._motion.control, state.solver
        assert control.weak is not None and control.strong is not None
        train = solver.train_steps
        self._held = held = held_steps(plan, control.weak * train, control.strong * train, solver)
        self._levels = (plan[held.steps.start].timestep / train, held.until / train)
        if abs(self._levels[1] - control.strong) > _NEAR:
            _log.warning(
                "dual_clock holds the motion to noise level %.3f, not %g: that lies outside the steps of its model",
                self._levels[1], control.strong,
            )  # fmt: skip
        whole, begun = self._motion.plan.layers[0].moves, 0.0
        for row, starts in zip(plan, _whole_steps(plan), strict=True):
            begun = row.timestep if starts else begun
            told = held.told(row.index)
            scale = row.guidance_scale
            if whole and told in ("partly", "free") and begun < _UNGUIDED * train:
                # words that are silent about motion speak for stillness, and what they ask for is drawn by now
                # (2404.07724)
                scale += self._motion.strength * (1 - scale)
            plan[row.index] = replace(row, motion=told, guidance_scale=scale)
        self._noise = state.latents.float() / solver.initial_scale

    def start(self, state: LoopState) -> LoopState:
        first = self._held.steps.start
        state.solver.begin_at(first)
        return replace(state, latents=self._at(state, first).to(state.latents.dtype), index=first)

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        share = self._held.share_at(state.index)
        within_step = state.index < len(state.solver.timesteps) and not state.solver.begins_step(state.index)
        if not share or within_step:
            return state
        kept = torch.lerp(state.latents.float(), self._at(state, state.index), share * self._mask)
        state.solver.note_changed_latents(state.index)
        return replace(state, latents=kept.to(state.latents.dtype))

    def end(self) -> dict[str, Any]:
        """The noise levels between which the motion was held, as shares of the training timesteps, and for how many
        steps."""
        weak, strong = (round(level, 4) for level in self._levels)
        return {
            "dual_clock": {
                "weak": weak,
                "strong": strong,
                "held_steps": round(len(self._held.steps) - 1 + self._held.share, 3),
            }
        }

    def _at(self, state: LoopState, index: int) -> torch.Tensor:
        """The reference with the clip's own noise at the level before step `index`, as the solver's latents are
        scaled."""
        return state.solver.noised(self._reference, self._noise, index)


@dataclass(frozen=True)
class Held:
    """Where a reference is put in: whole before each of `steps`, at whose first sampling begins, and a `share` of it
    before step `after`.

    until: the timestep that this amounts to, between those of the last step and of `after`.
    """

    steps: range
    after: int = 0
    share: float = 0.0
    until: float = 0.0

    def share_at(self, index: int) -> float:
        """How much of the reference is put in before step `index`."""
        return 1.0 if index in self.steps else self.share if index == self.after else 0.0

    def told(self, index: int) -> str:
        """What a plan's row says of step `index`."""
        if index < self.steps.start:
            return "skipped"
        if index < self.steps.stop - 1:
            return "held"
        return "partly" if index < self.after and self.share else "free"


def held_steps(plan: list[StepRow], weak: float, strong: float, solver: Solver) -> Held:
    """How a motion is held between two timesteps: from the step nearest to `weak` on, within one expert.

    InputError where no step follows that is of the same expert.
    """
    if not solver.can_begin_late:
        raise InputError(
            "dual_clock cannot begin within pndm's warm-up steps; choose another solver, such as ddim or dpm++2m"
        )
    whole = [row for row, starts in zip(plan, _whole_steps(plan), strict=True) if starts]
    starts = [row for row, after in pairwise(whole) if after.expert == row.expert]
    if not starts:
        raise InputError(
            f"dual_clock cannot hold a motion in {len(plan)} steps: it needs two of one expert; use more steps"
        )
    first = min(starts, key=lambda row: abs(row.timestep - weak))
    own = [row for row in whole if row.expert == first.expert and row.index >= first.index]
    last = [row for row in own if row is first or row.timestep >= strong][-1]
    rest = [row for row in whole if row.index > last.index]
    after, end = (rest[0].index, rest[0].timestep) if rest else (len(plan), 0.0)
    crosses = last.timestep > max(strong, end) and (not rest or rest[0].expert == last.expert)
    share = min(1.0, (last.timestep - strong) / (last.timestep - end)) if crosses else 0.0
    return Held(range(first.index, last.index + 1), after, share, last.timestep - share * (last.timestep - end))


def _whole_steps(plan: list[StepRow]) -> list[bool]:
    """Of each row whether a step starts at it: all do, but for the second call of each step of Heun, which has the next
    step's timestep."""
    return [row.index + 1 >= len(plan) or row.timestep != plan[row.index + 1].timestep for row in plan]
