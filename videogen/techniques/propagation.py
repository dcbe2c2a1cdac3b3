"""Propagation as a technique of the loop: attached for one run, rolled back where an error was underestimated, and
reported in the manifest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from videogen.attention import SparseAttention
from videogen.backbones.base import Backbone
from videogen.core.branch import Branch
from videogen.core.errors import UnsupportedError
from videogen.propagation import StepCaching, attach
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import AttachedTechnique


class PropagationTechnique(AttachedTechnique):
    """Propagation in every denoiser, under one configuration.

    sparse: the sparse attention of the same run, if any; the step at which it turns sparse becomes a key step.
    """

    section = "propagation"

    def __init__(self, config: StepCaching, sparse: SparseAttention | None = None) -> None:
        self.config, self._sparse = config, sparse
        self._plan: list[StepRow] = []
        self._before: LoopState | None = None  # a snapshot before the present step
        self._span: list[LoopState] = []  # such snapshots since the last key step
        self._roll_back_to: int | None = None
        self._may_roll_back = False
        self._rolls_back = False
        self._inject: Callable[[LoopState], LoopState] | None = None

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        if backbone.in_sections:
            raise UnsupportedError(
                f"{backbone.name!r} makes a clip in sections, each with steps of its own that are not known ahead; "
                "leave propagation out"
            )
        # with LoRAs it is not the model that was calibrated
        calibrated_as = None if backbone.adaptation.loras.change_model else backbone.name
        self.handle = attach(backbone.pipeline, self.config, scheduler=state.solver, calibrated_as=calibrated_as)
        self.handle.force(forced_key_steps(plan, self._sparse))
        self._plan, self._span = plan, []
        self._may_roll_back = self.config.roll_back and self.config.max_error is not None
        self._inject = build_prior_noise(self.config, state) if self.config.prior_noise else None

    def start(self, state: LoopState) -> LoopState:
        assert self.handle is not None
        if state.index:
            self.handle.force({state.index: "the first step"})
        return state

    def before_step(self, row: StepRow, state: LoopState) -> None:
        self._before = state.snapshot() if self._may_roll_back else None

    def around(self, row: StepRow, branch: Branch) -> AbstractContextManager[object]:
        assert self.handle is not None
        return self.handle.at(row.index, str(branch), row.guidance_scale)

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        assert self.handle is not None
        is_key_step = self.handle.on_key_step
        self._roll_back_to = self.handle.finish_step(roll_back=self._may_roll_back and bool(self._span))
        self._plan[row.index] = replace(row, key=is_key_step)
        if not is_key_step and self._before is not None:
            self._span.append(self._before)
        self._before = None
        return prediction

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        if self._roll_back_to is not None:
            earlier = next(stored for stored in self._span if stored.index == self._roll_back_to)
            self._span = [stored for stored in self._span if stored.index < self._roll_back_to]
            self._roll_back_to, self._rolls_back = None, True
            return earlier
        if self._plan[row.index].key:
            self._span = []
        return self._inject(state) if self._inject else state

    def snapshot(self) -> object:
        assert self.handle is not None
        return None if self.config.frames > 1 else (self.handle.snapshot(), list(self._span))

    def restore(self, snapshot: object) -> None:
        """Go back where another technique does. Where propagation itself rolls back, its handle has gone back already,
        and what it has learned stays. UnsupportedError for `frames` above 1, whose layers cache features."""
        if self._rolls_back:
            self._rolls_back = False
            return
        if not isinstance(snapshot, tuple):
            raise UnsupportedError(
                f"propagation with frames={self.config.frames} has cached features of later steps, so no technique can "
                "go back to an earlier step; leave one of them out"
            )
        assert self.handle is not None
        stored, span = snapshot
        self.handle.restore(stored)
        self._span = list(span)

    def end(self) -> dict[str, Any]:
        self._span = []
        return super().end()


def forced_key_steps(plan: list[StepRow], sparse: SparseAttention | None) -> dict[int, str]:
    """Steps at which cached features no longer fit, each with the reason: another expert, another guidance scale, other
    weights of LoRAs, or attention that turns from dense to sparse."""
    forced = {}
    for before, row in pairwise(plan):
        if row.expert != before.expert:
            forced[row.index] = "another expert"
        elif row.guidance_scale != before.guidance_scale:
            forced[row.index] = "another guidance scale"
        elif row.lora_weights != before.lora_weights:
            forced[row.index] = "other LoRA weights"
        elif sparse is not None and before.index / len(plan) < sparse.dense_steps <= row.index / len(plan):
            forced[row.index] = "attention turns sparse"
    return forced


def build_prior_noise(config: StepCaching, state: LoopState) -> Callable[[LoopState], LoopState]:
    """Faster Diffusion's prior noise injection after each step: z += alpha * z_T below a fraction of the noise, in the
    scale of the solver's latents."""
    solver = state.solver
    scale = solver.initial_scale
    noise = state.latents / scale
    timesteps, levels, train_steps = solver.timesteps, solver.levels, solver.train_steps

    def inject(state: LoopState) -> LoopState:
        if state.index >= len(timesteps) or float(timesteps[state.index]) / train_steps >= config.prior_noise_below:
            return state
        gain = 1 / max(levels[state.index].alpha, 1e-3) if levels is not None and scale > 1.5 else 1.0
        return replace(state, latents=state.latents + config.prior_noise * gain * noise.to(state.latents))

    return inject
