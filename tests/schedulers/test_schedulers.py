"""Noise sources and the table of solvers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from videogen import InputError, UnsupportedError
from videogen.schedulers import SOLVERS, AddressedNoise, DiffusersNoise, build_solver, solver_names
from videogen.schedulers.diffusers_solver import build_scheduler, prediction_kind
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


def test_the_checkpoint_s_schedule_is_preserved() -> None:
    assert build_scheduler("unipc", OWN["flow"]).config.flow_shift == 3.0
    assert build_scheduler("euler", OWN["flow-unipc"]).config.shift == 3.0
    own = DDIMScheduler(beta_start=0.002, clip_sample=False)
    assert build_scheduler("dpm++2m", own).config.beta_start == 0.002


def test_an_unknown_solver_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'dpm\\+\\+2m'"):
        check_solver("dpm++2")
