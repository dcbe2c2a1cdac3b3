"""Fixed latents: frames with known final latents arrive there, for every solver and kind of prediction."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.schedulers import AddressedNoise, Solver, build_solver, solver_names
from videogen.techniques.fixed_latents import StraightReplay


class SolverOnly:
    """The part of a clip that the technique needs."""

    def __init__(self, solver: Solver) -> None:
        self.solver = solver


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow", "sample"])
@pytest.mark.parametrize("name", ["ddim", "euler", "euler-a", "unipc", "dpm++2m", "dpm++2m-sde", "heun", "lcm"])
def test_fixed_frames_arrive_with_every_solver(name: str, kind: str) -> None:
    """In a straight line, except for the noise of a stochastic solver; exactly at the end."""
    if name not in solver_names(kind):
        return
    flow, other = FlowMatchEulerDiscreteScheduler(shift=3.0), DDIMScheduler(prediction_type=kind, clip_sample=False)
    solver = build_solver(name, flow if kind == "flow" else other, 12)
    known = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    source = AddressedNoise(5)
    latents = source.frames(range(5), (4, 8, 8)) * solver.initial_scale
    state = LoopState(SolverOnly(solver), latents, 0)  # type: ignore[arg-type]
    technique, calls = StraightReplay([0, 1, 2], known), len(solver.timesteps)
    technique.begin(None, [None] * calls, state)  # type: ignore[list-item,arg-type]
    for index in range(calls):
        row = StepRow(index, float(solver.timesteps[index]), None, 0, 1.0)
        assert bool(solver.scale_input(state.latents, index).isfinite().all())
        prediction = technique.prediction(row, state, torch.zeros_like(state.latents))
        state = replace(state, latents=solver.step(prediction, index, state.latents, [source]), index=index + 1)
        if index == calls - 1:
            error = float((state.latents[:, :, :3] - known).norm() / known.norm())
            assert error < 0.2, f"{error:.3f} off before the correction"
        state = technique.after_step(row, state)
    assert torch.equal(state.latents[:, :, :3], known)
