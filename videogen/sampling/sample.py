"""From noise to finished latents: the loop with its techniques around it, and what is told on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from videogen.backbones.base import Backbone, Conditioning
from videogen.request.resolved import ResolvedRequest
from videogen.schedulers.noise.source import NoiseSource
from videogen.schedulers.solvers import make_solver
from videogen.schedulers.windows import Windows

from .loop import LoopState, denoise
from .step_plan import StepRow, make_plan
from .technique import Technique

#: (state, steps in all, steps left out at the start), after each step
Told = Callable[[LoopState, int, int], None]


def plan_of(backbone: Backbone, request: ResolvedRequest) -> list[StepRow]:
    """The plan of a resolved request before it runs: more rows than steps with solvers that call the model twice."""
    return make_plan(backbone, _solver(backbone, request), request)


def _solver(backbone: Backbone, request: ResolvedRequest) -> Any:
    solver = make_solver(request.solver, backbone.scheduler)
    solver.set_timesteps(request.steps, device=backbone.device)
    return solver


def begin(
    backbone: Backbone,
    request: ResolvedRequest,
    sources: Sequence[NoiseSource],
    frames: int,
    windows: Windows | None = None,
) -> LoopState:
    """The first state of a resolved request: `frames` latent frames of each source's noise."""
    solver = _solver(backbone, request)
    _, channels, _, height, width = backbone.geometry.shape(request.frames, request.height, request.width)
    noise = torch.cat([source.frames(range(frames), (channels, height, width)) for source in sources])
    return LoopState(backbone.start(noise, solver), 0, solver, sources, windows)


def sample(
    backbone: Backbone,
    state: LoopState,
    request: ResolvedRequest,
    text: Conditioning,
    techniques: Sequence[Technique],
    told: Told,
) -> tuple[torch.Tensor, list[StepRow], dict[str, Any]]:
    """(final latents, the plan as it ran, what was measured)."""
    plan = make_plan(backbone, state.solver, request)
    measured: dict[str, Any] = {}
    try:
        for technique in techniques:
            technique.begin(backbone, plan, state)
        for technique in techniques:
            state = technique.start(state)
        skipped = state.index
        told(state, len(plan), skipped)
        for state in denoise(backbone, state, plan, text, request.guidance_mode, techniques):  # noqa: B020
            told(state, len(plan), skipped)
    finally:
        for technique in reversed(techniques):
            measured.update(technique.end())
    return state.latents, plan, measured
