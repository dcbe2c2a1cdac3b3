"""Estimate of the clean latents at each step, which previews show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, UniPCMultistepScheduler

from videogen.sampling.clean_estimate import CleanEstimate
from videogen.schedulers import AddressedNoise, build_solver, solver_names
from videogen.schedulers.diffusers_solver import read_noise_schedule
from videogen.schedulers.parametrization import prediction_for

SHAPE = (1, 4, 3, 8, 8)
TRAINED: dict[str, Any] = {
    "epsilon": DDIMScheduler(clip_sample=False),
    "zero-snr": DDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False
    ),
    "flow": UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
}


@pytest.mark.parametrize("trained", TRAINED)
def test_the_estimate_is_what_the_model_predicts_with_every_solver(trained: str) -> None:
    schedule = read_noise_schedule(TRAINED[trained])
    clean = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    for name in (None, *solver_names(schedule.kind, zero_snr=schedule.zero_snr)):
        solver, source, estimate = build_solver(name, TRAINED[trained], 6), AddressedNoise(1), CleanEstimate()
        latents, levels = source.frames(range(3), (4, 8, 8)) * solver.initial_scale, solver.levels
        assert levels is not None
        for index in range(len(solver.timesteps)):
            state: Any = SimpleNamespace(solver=solver, latents=latents, index=index)
            if not index:
                assert estimate.latents(state) is latents, "no prediction yet"
            model_input = solver.scale_input(latents, index)
            prediction = prediction_for(model_input, clean, levels[index], schedule.kind)
            row: Any = SimpleNamespace(index=index)
            assert estimate.prediction(row, state, prediction) is prediction
            if levels[index].alpha >= 0.05 or schedule.kind != "epsilon":
                torch.testing.assert_close(estimate.latents(state), clean, atol=2e-3, rtol=0, msg=f"{name}, {index}")
            latents = solver.step(prediction, index, latents, [source])
        ended: Any = SimpleNamespace(solver=solver, latents=latents, index=len(solver.timesteps))
        assert estimate.latents(ended) is latents


def test_latents_of_unknown_noise_levels_are_taken_as_they_are() -> None:
    latents, estimate = torch.ones(SHAPE), CleanEstimate()
    state: Any = SimpleNamespace(solver=SimpleNamespace(levels=None, timesteps=range(4)), latents=latents, index=1)
    row: Any = SimpleNamespace(index=0)
    estimate.prediction(row, state, 2 * latents)
    assert estimate.latents(state) is latents
