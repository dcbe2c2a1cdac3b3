"""Dual-clock motion on a native model: held regions equal a noise mask's, an empty mask is no node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.comfyui.double import FlowSampling, Guider, Model, Sampler
from tests.comfyui.hosts import Host, draw
from videogen.comfyui.hooks.latent_regions import pool_region
from videogen.comfyui.hooks.model_runs import PREDICT_NOISE, SAMPLER_SAMPLE, RunContext, with_runs
from videogen.comfyui.native.dual_clock import KEY, DualClock, DualClockRun
from videogen.comfyui.reports.reports import collect_reports, describe_reports
from videogen.core.errors import InputError

SIGMAS = torch.tensor([1.0, 0.95, 0.8, 0.6, 0.4, 0.2, 0.0])
SHAPE = (1, 4, 3, 8, 8)
NOISE, REFERENCE = draw(SHAPE), draw(SHAPE, seed=2)
MASK = torch.zeros(9, 64, 64)
MASK[:, :, :32] = 1.0
HELD = 1 - pool_region(MASK, (3, 8, 8), 8, 4)
SAMPLERS = ["euler", "heun", "dpmpp_2m"]


def attach(
    model: Any, reference: torch.Tensor, mask: Any = None, weak: float = 1.0, strong: float = 0.0, **rest: Any
) -> Any:
    mask = MASK[:1] if mask is None else mask
    settings = DualClock(reference, mask, weak, strong, **rest)
    return with_runs(model, KEY, lambda context: DualClockRun(context, settings))


def held_mask(noise: torch.Tensor) -> torch.Tensor:
    """ComfyUI's noise mask for the region of `MASK`."""
    return HELD[:, :, :1].expand(-1, -1, noise.shape[2], -1, -1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_region_that_is_held_to_the_end_is_a_noise_mask_s(comfy: Host, sampler: str) -> None:
    model, reference = comfy.model(), draw(comfy.noise.shape, seed=2)
    plain, mask = comfy.sample(model, sampler), held_mask(comfy.noise)
    expected = comfy.sample(model, sampler, latent=reference, noise_mask=mask)
    found = comfy.sample(attach(model, reference), sampler)
    assert torch.equal(found, expected) and not torch.equal(found, plain)
    assert torch.allclose(found[..., :4], reference[..., :4], atol=1e-2)
    assert torch.equal(comfy.sample(model, sampler), plain)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_begins_at_the_weak_level_from_the_reference(comfy: Host, sampler: str) -> None:
    model, reference = comfy.model(), draw(comfy.noise.shape, seed=2)
    late = attach(model, reference, weak=0.75)
    expected = comfy.sample(model, sampler, sigmas=SIGMAS[2:], latent=reference, noise_mask=held_mask(reference))
    assert torch.equal(comfy.sample(late, sampler, sigmas=SIGMAS), expected)
    report = collect_reports(late)[KEY]
    assert (report["weak"], report["skipped_steps"], report["held_steps"]) == (0.8, 2, 4)


@pytest.mark.parametrize(
    ("mask", "strength"), [(0 * MASK[:1], 1.0), (MASK[:1], 0.0)], ids=["an empty mask", "no strength"]
)  # fmt: skip
@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_without_a_region_it_is_no_node(
    comfy: Host, sampler: str, batched: bool, mask: torch.Tensor, strength: float
) -> None:
    model = comfy.model()
    moved = attach(model, draw(comfy.noise.shape, seed=2), mask, strength=strength, weak=0.8)
    assert torch.equal(comfy.sample(moved, sampler, batched=batched), comfy.sample(model, sampler, batched=batched))
    reason = "dual-clock motion: no effect; the mask is empty, or strength is 0"
    assert describe_reports(collect_reports(moved)) == [reason]


def test_the_region_is_released_at_the_strong_level(comfy: Host) -> None:
    model, reference = comfy.model(), draw(comfy.noise.shape, seed=2)
    held, released = attach(model, reference, weak=0.95), attach(model, reference, weak=0.95, strong=0.5)
    found = comfy.sample(released, sigmas=SIGMAS)
    report = collect_reports(released)[KEY]
    assert (report["weak"], report["strong"], report["held_steps"], report["region"]) == (0.95, 0.5, 2.5, 0.5)
    assert describe_reports({KEY: report}) == [
        "dual-clock motion: 50% of the clip held for 2.5 steps, from noise level 0.950 to 0.500, 1 of 6 steps skipped"
    ]
    assert (found - comfy.sample(held, sigmas=SIGMAS))[..., :4].norm() / reference.norm() > 0.05


def test_the_model_sees_the_reference_at_each_level() -> None:
    """As in the engine's loop, which puts the reference back after each step."""
    noisy = [sigma * NOISE + (1 - sigma) * 2 * REFERENCE for sigma in SIGMAS]
    inputs: list[torch.Tensor] = []

    def watch(executor: Any, model: Any, conditions: Any, x: torch.Tensor, *args: Any) -> Any:
        inputs.append(x)
        return executor(model, conditions, x, *args)

    model = attach(Model(), REFERENCE, weak=0.95, strong=0.5)
    model.add_wrapper_with_key("calc_cond_batch", "watch", watch)
    sample(model)
    assert len(inputs) == 5
    for step, given in zip(range(1, 6), inputs, strict=True):
        assert torch.allclose(given[..., :4], noisy[step][..., :4], atol=1e-6) == (step <= 3)
    assert torch.equal(inputs[0], noisy[1])


def test_it_continues_in_a_second_sampler(comfy: Host) -> None:
    """Two samplers for high and low noise, of which the second gets latents without noise of its own."""
    reference = draw(comfy.noise.shape, seed=2)
    model = attach(comfy.model(), reference, weak=0.95, strong=0.3)
    first = comfy.sample(model, sigmas=SIGMAS[:4])
    second = comfy.sample(model, sigmas=SIGMAS[3:], noise=torch.zeros_like(reference), latent=first)
    assert torch.allclose(second, comfy.sample(model, sigmas=SIGMAS), atol=1e-3)


def sample(model: Any, sampler: str = "euler", sigmas: torch.Tensor = SIGMAS, *rest: Any, noise: Any = NOISE) -> Any:
    return Guider(model).sample(Sampler(sampler), sigmas, noise, *rest)


@pytest.mark.parametrize(
    ("sigmas", "reason"),
    [
        pytest.param(SIGMAS[4:], "its steps begin at noise level 0.400, below strong=0.5", id="below the strong level"),
        pytest.param(torch.zeros(2), "the sampler has no steps", id="equal zeros"),
        pytest.param(SIGMAS[:1], "the sampler has no steps", id="one level"),
    ],
)
def test_a_part_of_a_run_without_a_level_to_hold_is_plain(sigmas: torch.Tensor, reason: str) -> None:
    context = RunContext(SimpleNamespace(model_patcher=Model()), Sampler(), sigmas, (SHAPE,))
    run = DualClockRun(context, DualClock(REFERENCE, MASK, 0.95, 0.5))
    assert run.report() == {"declined": reason} and not run.wrappers()


def test_a_part_that_ends_above_the_weak_level_follows_the_reference_everywhere() -> None:
    model = attach(Model(), REFERENCE, weak=0.7, strong=0.3)
    first = Guider(model).sample(Sampler(), SIGMAS[:3], NOISE)
    assert torch.allclose(first, REFERENCE + SIGMAS[2] / (1 - SIGMAS[2]) * NOISE / 2, atol=1e-4)
    second = Guider(model).sample(Sampler(), SIGMAS[2:], torch.zeros_like(NOISE), first)
    assert torch.allclose(second, sample(model, "euler", SIGMAS[2:]), atol=1e-4)


def test_a_noise_mask_of_the_run_holds_its_latents() -> None:
    latents, free = torch.full(SHAPE, 0.3), torch.ones(SHAPE)
    free[:, :, :1] = 0.0
    found = sample(attach(Model(), REFERENCE, strong=0.5), "euler", SIGMAS, latents, free)
    assert torch.allclose(found[:, :, 0], latents[:, :, 0], atol=1e-5)
    assert not torch.allclose(found[:, :, 1:], sample(Model(), "euler", SIGMAS, latents, free)[:, :, 1:], atol=1e-2)


def test_sound_is_free() -> None:
    """Latents that are packed with others: [b, 1, n]; all steps run, as sound needs them."""
    sound = torch.randn(1, 2, 5)
    shapes = (SHAPE, tuple(sound.shape))
    guider = SimpleNamespace(model_patcher=Model(), inner_model=Model().model)
    run = DualClockRun(RunContext(guider, Sampler(), SIGMAS, shapes), DualClock(REFERENCE, MASK, 0.75, 0.3))
    packed, latents = (torch.cat([video.reshape(1, 1, -1), sound.reshape(1, 1, -1)], 2) for video in (NOISE, 0 * NOISE))
    started: list[Any] = []
    run.wrappers()[SAMPLER_SAMPLE](lambda *args: started.append(args), guider, SIGMAS, {}, None, packed, latents)
    assert torch.equal(started[0][1], SIGMAS) and torch.equal(
        started[0][5][:, :, NOISE.numel() :], sound.reshape(1, 1, -1)
    )
    for step, held in ((0, torch.zeros_like(HELD)), (2, HELD), (5, torch.ones_like(HELD))):
        given: list[torch.Tensor] = []

        def predict(x: torch.Tensor, *_: Any, given: list[torch.Tensor] = given) -> torch.Tensor:
            given.append(x)
            return x - 7

        clean = run.wrappers()[PREDICT_NOISE](predict, torch.zeros_like(packed), SIGMAS[step].view(1))
        target = FlowSampling().noise_scaling(SIGMAS[step], NOISE, 2 * REFERENCE)
        video = given[0][:, :, : NOISE.numel()].reshape(SHAPE)
        assert torch.allclose(video, torch.where(held.bool(), 0, target), atol=1e-6)
        assert not given[0][:, :, NOISE.numel() :].any() and (clean[:, :, NOISE.numel() :] == -7).all()


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param(torch.eye(4)[None], torch.eye(4).expand(3, 4, 4), id="one frame on latents"),
        pytest.param(torch.eye(4).repeat_interleave(8, 0).repeat_interleave(8, 1)[None], torch.eye(4).expand(3, 4, 4),
                     id="one frame in pixels"),
        pytest.param(torch.arange(9).eq(2).float()[:, None, None].expand(9, 32, 32),
                     torch.tensor([0.0, 1.0, 0.0])[:, None, None].expand(3, 4, 4), id="one frame of a group"),
        pytest.param(torch.arange(3).eq(2).float()[:, None, None].expand(3, 32, 32),
                     torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, 4, 4), id="a frame per latent"),
    ],
)  # fmt: skip
def test_a_mask_is_pooled_to_latents(mask: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.equal(pool_region(mask, (3, 4, 4), 8, 4)[0, 0], expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"mask": torch.zeros(9, 64, 40)}, r"mask \[9, 64, 40\] .* 64x64 pixels", id="another size"),
        pytest.param({"mask": torch.zeros(7, 64, 64)}, "mask has 7 frames; give 9", id="mask of another length"),
        pytest.param({"mask": MASK * float("nan")}, "mask has values outside", id="NaN in the mask"),
        pytest.param({"reference": REFERENCE[:, :, 0]}, "not the latents of a clip", id="an image"),
        pytest.param({"weak": 0.5, "strong": 0.6}, "strong=0.6 is above weak=0.5", id="released before it begins"),
        pytest.param({"weak": float("nan")}, "weak=nan", id="NaN"),
        pytest.param({"strength": 1.5}, "strength=1.5", id="linked strength"),
    ],
)  # fmt: skip
def test_the_node_refuses(comfy: Host, values: dict[str, Any], message: str) -> None:
    node = comfy.load_nodes("dual_clock").DualClockMotion
    given = {"reference": REFERENCE, "mask": MASK, "weak": 0.95, "strong": 0.85, "strength": 1.0} | values
    with pytest.raises(InputError, match=message):
        node.execute(comfy.model(), {"samples": given.pop("reference")}, **given)


def test_the_node_moves_a_clip(comfy: Host) -> None:
    node, model = comfy.load_nodes("dual_clock").DualClockMotion, comfy.model()
    reference = draw(comfy.noise.shape, seed=2)
    (moved,) = node.execute(model, {"samples": reference}, MASK[:1], 1.0, 0.0).result
    assert torch.equal(comfy.sample(moved), comfy.sample(attach(model, reference)))
    assert node.validate_inputs(0.9, 0.8) is node.validate_inputs() is True
    assert "strong=0.9" in node.validate_inputs(0.8, 0.9) and "weak=2" in node.validate_inputs(weak=2)


def test_sampled_latents_of_another_size_are_refused() -> None:
    with pytest.raises(
        InputError, match="the reference has 9 frames of 64x64 pixels, and the sampled clip 17 of 64x64"
    ):
        sample(attach(Model(), REFERENCE), "euler", SIGMAS, noise=torch.zeros(1, 4, 5, 8, 8))
    with pytest.raises(InputError, match="the reference has 9 frames of 64x64 pixels, and the sampled clip 9 of 96x48"):
        sample(attach(Model(), REFERENCE), "euler", SIGMAS, noise=torch.zeros(1, 4, 3, 6, 12))
    with pytest.raises(InputError, match="a batch of 2 clips with 4 channels, and the sampled one 1 with 4"):
        sample(attach(Model(), torch.cat([REFERENCE] * 2)), "euler", SIGMAS, noise=torch.zeros(SHAPE))


def test_levels_of_a_model_whose_time_has_no_beginning() -> None:
    """EDM's time is a logarithm of sigma, and negative below 1: levels are fractions of noise."""
    model = Model()
    model.model.model_sampling = EdmSampling()
    sigmas = torch.tensor([80.0, 9.0, 1.0, 0.25, 0.0])
    context = RunContext(SimpleNamespace(model_patcher=model), Sampler(), sigmas, (SHAPE,))
    report = DualClockRun(context, DualClock(REFERENCE, MASK, 0.92, 0.4)).report()
    assert (report["weak"], report["held_steps"]) == (0.9, 1.333) and report["strong"] == 0.4


def test_levels_are_those_of_the_run_s_own_sampling() -> None:
    """A node that sets it changes the model when it is loaded, after the run has been opened."""
    model, sigmas = Model(), torch.tensor([80.0, 9.0, 1.0, 0.25, 0.0])
    model.add_object_patch("model_sampling", EdmSampling())
    context = RunContext(SimpleNamespace(model_patcher=model), Sampler(), sigmas, (SHAPE,))
    report = DualClockRun(context, DualClock(REFERENCE, MASK, 0.92, 0.4)).report()
    assert (report["weak"], report["held_steps"]) == (0.9, 1.333)


class EdmSampling(FlowSampling):
    sigma_min, sigma_max = torch.tensor(0.002), torch.tensor(80.0)

    def timestep(self, sigma: Any) -> Any:
        return 0.25 * sigma.log()
