"""Noise sources and the table of solvers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    DDIMScheduler,
    DEISMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from videogen import InputError, UnsupportedError
from videogen.schedulers import SOLVERS, AddressedNoise, DiffusersNoise, build_solver, solver_names
from videogen.schedulers.diffusers_scheduler import build_scheduler
from videogen.schedulers.diffusers_solver import prediction_kind, read_noise_schedule
from videogen.schedulers.parametrization import prediction_for
from videogen.schedulers.solvers import check_solver

SHAPE = (4, 6, 5)
OWN = {
    "epsilon": DDIMScheduler(clip_sample=False),
    "v_prediction": DDIMScheduler(prediction_type="v_prediction", clip_sample=False),
    "flow": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow-unipc": UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
}


def test_a_single_frame_equals_the_frame_of_the_clip() -> None:
    clip = AddressedNoise(3).frames(range(9), SHAPE)
    assert clip.shape == (1, 4, 9, 6, 5)
    for indices in (range(0, 4), range(4, 9), [7], [8, 0, 3]):
        assert torch.equal(AddressedNoise(3).frames(indices, SHAPE), clip[:, :, list(indices)])


def test_seed_and_stream_are_part_of_the_address() -> None:
    base = AddressedNoise(3).frames([0], SHAPE)
    assert not torch.equal(base, AddressedNoise(4).frames([0], SHAPE))
    assert not torch.equal(base, AddressedNoise(3, "other").frames([0], SHAPE))


def test_solver_noise_depends_only_on_the_step() -> None:
    def draw(step: int) -> torch.Tensor:
        return torch.randn(5, generator=AddressedNoise(3).generators(step, 1)[0])

    assert torch.equal(draw(2), draw(2)) and not torch.equal(draw(2), draw(3))


def test_diffusers_noise_is_one_generator() -> None:
    source, generator = DiffusersNoise(5), torch.Generator().manual_seed(5)
    assert torch.equal(source.frames(range(3), SHAPE), torch.randn((1, 4, 3, 6, 5), generator=generator))
    assert torch.equal(torch.randn(3, generator=source.generators(0, 4)[0]), torch.randn(3, generator=generator))


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("name", [None, *SOLVERS])
def test_each_solver_runs_or_is_refused_with_the_list(own: str, name: str | None) -> None:
    scheduler = OWN[own]
    kind = prediction_kind(scheduler)
    assert kind == own.split("-")[0]
    if name is not None and name not in solver_names(kind):
        with pytest.raises(UnsupportedError, match="use one of"):
            build_solver(name, scheduler, 4)
        return
    solver = build_solver(name, scheduler, 4)
    assert solver.kind == kind and getattr(scheduler, "num_inference_steps", None) is None
    latents = torch.randn(1, 2, 3, 4, 4)
    for index in range(len(solver.timesteps)):
        latents = solver.step(0.1 * latents, index, latents, [AddressedNoise(1)])
    assert torch.isfinite(latents).all()


ZERO_SNR = DDIMScheduler(
    prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False
)
#: variance-preserving schedules that some of diffusers' classes cannot derive from the same settings
TRAINED = {
    "default-betas": DDIMScheduler(clip_sample=False),
    "other-betas": DDIMScheduler(beta_start=0.002, clip_sample=False),
    "zero-snr": ZERO_SNR,
    "snr-shift": CogVideoXDDIMScheduler(prediction_type="v_prediction", snr_shift_scale=3.0),
}


@pytest.mark.parametrize("own", TRAINED)
def test_every_solver_keeps_the_noise_schedule_or_is_refused(own: str) -> None:
    schedule = read_noise_schedule(TRAINED[own])
    fitting = solver_names(schedule.kind, zero_snr=schedule.zero_snr)
    assert ("heun" in fitting) == (own != "zero-snr") and "deis" in fitting
    for name in fitting:
        products = (each.alphas_cumprod.double() for each in (build_scheduler(name, TRAINED[own]), TRAINED[own]))
        torch.testing.assert_close(*products, rtol=1e-3, atol=2**-23)
    for name in set(solver_names(schedule.kind)) - set(fitting):
        with pytest.raises(UnsupportedError, match=r"zero SNR .* use one of ddim, ddpm, euler"):
            build_scheduler(name, TRAINED[own])


SAMPLED = OWN | {
    "zero-snr": ZERO_SNR,
    "sample": DDIMScheduler(prediction_type="sample", clip_sample=False),
    "no-shift": FlowMatchEulerDiscreteScheduler(),
    "flow-deis": DEISMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
}


@pytest.mark.parametrize("steps", [2, 7, 10, 50])
@pytest.mark.parametrize("own", SAMPLED)
def test_a_model_that_knows_the_clean_latents_is_sampled_to_them(own: str, steps: int) -> None:
    schedule, clean = read_noise_schedule(SAMPLED[own]), torch.randn(1, 4, 3, 8, 8)
    for name in (None, *solver_names(schedule.kind, zero_snr=schedule.zero_snr)):
        solver, source = build_solver(name, SAMPLED[own], steps), AddressedNoise(1)
        assert solver.levels is not None
        latents = source.frames(range(3), (4, 8, 8)) * solver.initial_scale
        for index, level in enumerate(solver.levels[:-1]):
            prediction = prediction_for(solver.scale_input(latents, index), clean, level, schedule.kind)
            latents = solver.step(prediction, index, latents, [source])
        assert float((latents - clean).std() / clean.std()) < 0.03, name


def test_a_solver_of_the_checkpoint_s_own_class_keeps_all_of_its_settings() -> None:
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 5.0}
    assert build_scheduler("unipc", UniPCMultistepScheduler(solver_order=3, **flow)).config.solver_order == 3
    assert build_scheduler("deis", DEISMultistepScheduler(solver_order=3, **flow)).config.solver_order == 3
    own = FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True, use_karras_sigmas=True)
    config = build_scheduler("euler", own).config
    assert (config.shift, config.stochastic_sampling, config.use_karras_sigmas) == (3.0, True, True)


def test_another_flow_solver_keeps_the_shift() -> None:
    assert build_scheduler("unipc", OWN["flow"]).config.flow_shift == 3.0
    assert build_scheduler("euler", OWN["flow-unipc"]).config.shift == 3.0


@pytest.mark.parametrize(
    ("setting", "fitting"),
    [
        ({"shift_terminal": 0.1}, "euler, euler-simple, unipc, lcm"),
        ({"invert_sigmas": True}, "euler, euler-simple, lcm"),
    ],
    ids=["sigmas that end early", "time that runs backwards"],
)
def test_a_flow_solver_that_cannot_keep_the_sigmas_is_refused_with_those_that_can(
    setting: dict[str, Any], fitting: str
) -> None:
    own = FlowMatchEulerDiscreteScheduler(**setting)
    for name in fitting.split(", "):
        assert build_scheduler(name, own).config.items() >= setting.items()
    for name in set(solver_names("flow")) - set(fitting.split(", ")):
        with pytest.raises(UnsupportedError, match=f"{next(iter(setting))}=.*use one of {fitting}"):
            build_scheduler(name, own)


def test_an_unknown_solver_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'dpm\\+\\+2m'"):
        check_solver("dpm++2")
