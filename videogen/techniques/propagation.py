"""Propagation as a technique of the loop: attached for one run, told each step, able to go back, reported in the
manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from videogen.attention import SparseAttention
from videogen.backbones.base import Backbone
from videogen.propagation import EncoderPropagation, attach
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import AttachedTechnique, Call
from videogen.schedulers.levels import NoiseLevel, noise_levels


class PropagationTechnique(AttachedTechnique):
    """Every denoiser under one configuration. sparse: the sparse attention of the same run: its switches force keys,
    and its maps cannot be taken back, so that with it no step is."""

    section = "propagation"

    def __init__(self, config: EncoderPropagation, sparse: SparseAttention | None = None) -> None:
        self.config, self._sparse = config, sparse
        self._plan: list[StepRow] = []
        self._span: list[LoopState] = []  # before each step since the last key
        self._back: int | None = None
        self._may_go_back = False
        self._inject: Callable[[LoopState], LoopState] | None = None

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self.handle = attach(backbone.pipeline, self.config, scheduler=state.solver, calibrated_as=backbone.name)
        self.handle.force(forced_keys(plan, self._sparse))
        self._plan, self._span = plan, []
        self._may_go_back = self.config.roll_back and self.config.max_error is not None and self._sparse is None
        self._inject = prior_noise(self.config, state) if self.config.prior_noise else None

    def start(self, state: LoopState) -> LoopState:
        assert self.handle is not None
        if state.index:
            self.handle.force({state.index: "the first step"})
        return state

    def evaluate(
        self, row: StepRow, branch: str, latents: torch.Tensor, text: torch.Tensor, call: Call
    ) -> torch.Tensor:
        assert self.handle is not None
        with self.handle.at(row.index, branch, row.guidance_scale):
            return call(latents, text)

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        assert self.handle is not None
        key = self.handle.was_key
        self._back = self.handle.finish_step(roll_back=self._may_go_back and bool(self._span))
        self._plan[row.index] = replace(row, key=key)
        if not key and self._may_go_back:
            self._span.append(state.snapshot())
        return prediction

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        if self._back is not None:
            earlier = next(kept for kept in self._span if kept.index == self._back)
            self._span = [kept for kept in self._span if kept.index < self._back]
            self._back = None
            return earlier
        if self._plan[row.index].key:
            self._span = []
        return self._inject(state) if self._inject else state

    def end(self) -> dict[str, Any]:
        self._span = []
        return super().end()


def forced_keys(plan: list[StepRow], sparse: SparseAttention | None) -> dict[int, str]:
    """Steps at which what is kept no longer fits: another expert or guidance, or attention that turns from dense to
    sparse."""
    forced = {}
    for before, row in pairwise(plan):
        if row.expert != before.expert:
            forced[row.index] = "another expert"
        elif row.guidance_scale != before.guidance_scale:
            forced[row.index] = "another guidance scale"
        elif sparse is not None and before.index / len(plan) < sparse.dense_steps <= row.index / len(plan):
            forced[row.index] = "attention turns sparse"
    return forced


def prior_noise(config: EncoderPropagation, state: LoopState) -> Callable[[LoopState], LoopState]:
    """Faster Diffusion's injection: z += alpha * z_T below a share of the noise, in the scale of the solver's
    latents."""
    solver = state.solver
    scale = float(getattr(solver, "init_noise_sigma", 1.0))
    noise = state.latents / scale
    levels: list[NoiseLevel] | None = noise_levels(solver)
    train = solver.config.num_train_timesteps

    def inject(state: LoopState) -> LoopState:
        if (
            state.index >= len(solver.timesteps)
            or float(solver.timesteps[state.index]) / train >= config.prior_noise_below
        ):
            return state
        grown = 1 / max(levels[state.index].alpha, 1e-3) if levels is not None and scale > 1.5 else 1.0
        return replace(state, latents=state.latents + config.prior_noise * grown * noise.to(state.latents))

    return inject
