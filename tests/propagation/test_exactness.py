"""Every video denoiser of diffusers, at tiny size: with exact settings propagation equals the plain model bit for
bit."""

from __future__ import annotations

import pytest
import torch

from tests.attention.models import Tiny
from tests.propagation.models import STEPS, TRANSFORMERS, UNETS, Timesteps, equal, inputs_at, run, tensors
from videogen.propagation import StepCaching, attach

EVERY_STEP = tuple(range(STEPS))
UNET_BOUNDARIES = ("fd", "deepcache:0", "cut:2,4", "cut:1,2", "output")
BLOCK_BOUNDARIES = ("blocks:1,0", "blocks:0,1", "blocks:0,0", "output")
CASES = [pytest.param(tiny, b, id=f"{tiny.name}-{b}") for tiny in UNETS for b in UNET_BOUNDARIES]
CASES += [pytest.param(tiny, b, id=f"{tiny.name}-{b}") for tiny in TRANSFORMERS for b in BLOCK_BOUNDARIES]


@pytest.mark.parametrize(("tiny", "boundary"), CASES)
def test_with_key_steps_only_the_output_is_plain_and_closing_leaves_no_trace(tiny: Tiny, boundary: str) -> None:
    model = tiny.build()
    plain, forwards = run(model, tiny), [vars(module).get("forward") for module in model.modules()]
    with attach(model, StepCaching(keys=EVERY_STEP, boundary=boundary)) as handle:
        attached = run(model, tiny)
        assert handle.report()["keys"] == list(EVERY_STEP)
    assert all(map(equal, plain, attached))
    assert [vars(module).get("forward") for module in model.modules()] == forwards
    assert all(map(equal, plain, run(model, tiny)))


@pytest.mark.parametrize(("tiny", "boundary"), CASES)
def test_decoding_a_key_step_is_bit_identical(tiny: Tiny, boundary: str) -> None:
    model = tiny.build()
    with torch.inference_mode():
        key = tensors(model(**inputs_at(tiny, 0)))
    with attach(model, StepCaching(keys=(0,), boundary=boundary)) as handle, torch.inference_mode():
        with handle.at(0, "cond"):
            model(**inputs_at(tiny, 0))
        with handle.at(1, "cond"):
            decoded = tensors(model(**inputs_at(tiny, 0)))
        assert handle.evaluations[-1].key is False
    assert equal(key, decoded)


@pytest.mark.parametrize(("tiny", "boundary"), CASES)
def test_steps_between_use_the_cached_features_and_do_not_change_them(tiny: Tiny, boundary: str) -> None:
    model = tiny.build()
    plain = run(model, tiny)
    with attach(model, StepCaching(keys="every:2", boundary=boundary, predictor="hold")) as handle:
        first = run(model, tiny, 1)
        cached = [
            value.clone()
            for b in handle.cuts
            for entry in b.entries()
            for values in entry.values.values()
            for value in values
        ]
        found = first + [tensors(out) for out in _more(model, tiny, 1, 2)]
        after = [
            value for b in handle.cuts for entry in b.entries() for values in entry.values.values() for value in values
        ]
        assert cached and all(torch.equal(a, b) for a, b in zip(cached, after, strict=True))
        found += [tensors(out) for out in _more(model, tiny, 2, STEPS)]
    same = [equal(a, b) for a, b in zip(plain, found, strict=True)]
    assert same[::2] == [True] * len(same[::2]) and not any(same[1::2])
    assert all(torch.isfinite(x).all() for step in found for x in step)


@torch.inference_mode()
def _more(model: torch.nn.Module, tiny: Tiny, begin: int, end: int) -> list[object]:
    return [model(**inputs_at(tiny, step)) for step in range(begin, end)]


@pytest.mark.parametrize("tiny", UNETS, ids=lambda tiny: tiny.name)
@pytest.mark.parametrize("predictor", ["hold", "linear"])
def test_decoding_ahead_in_a_batch_equals_step_by_step(tiny: Tiny, predictor: str) -> None:
    model, found = tiny.build(), []
    for micro_batch in (1, 4, 2):
        config = StepCaching(keys=(0, 1), boundary="fd", predictor=predictor, micro_batch=micro_batch)
        with attach(model, config, scheduler=Timesteps()) as handle:
            found.append(run(model, tiny))
            assert handle.report()["keys"] == [0, 1]
    for batched in found[1:]:
        for a, b in zip(found[0], batched, strict=True):
            torch.testing.assert_close(a[0], b[0], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("tiny", UNETS, ids=lambda tiny: tiny.name)
@pytest.mark.parametrize(
    ("boundary", "reads"), [("fd", False), ("cut:1,4", True), ("deepcache:0", True), ("output", True)]
)
def test_only_cuts_with_fresh_encoder_layers_read_the_latents(tiny: Tiny, boundary: str, reads: bool) -> None:
    model = tiny.build()

    def second(scale: float) -> torch.Tensor:
        with attach(model, StepCaching(keys=(0,), boundary=boundary, micro_batch=1)), torch.inference_mode():
            model(**inputs_at(tiny, 0))
            moved = inputs_at(tiny, 1)
            moved["sample"] = moved["sample"] * scale
            return tensors(model(**moved))[0]

    one, two = second(1.0), second(0.5)
    assert torch.equal(one, two) is not reads


@pytest.mark.parametrize(("tiny", "boundary"), CASES)
def test_branches_never_mix(tiny: Tiny, boundary: str) -> None:
    model = tiny.build()

    def cond(also: bool) -> list[torch.Tensor]:
        found = []
        config = StepCaching(keys="every:2", boundary=boundary, micro_batch=1)
        with attach(model, config) as handle, torch.inference_mode():
            for step in range(4):
                if also:
                    other = inputs_at(tiny, step)
                    other["encoder_hidden_states"] = other["encoder_hidden_states"] * -2
                    with handle.at(step, "uncond"):
                        model(**other)
                with handle.at(step, "cond"):
                    found += tensors(model(**inputs_at(tiny, step)))
        return found

    assert equal(cond(also=False), cond(also=True))


@pytest.mark.parametrize("tiny", [UNETS[0], TRANSFORMERS[0]], ids=lambda tiny: tiny.name)
@pytest.mark.parametrize("change", ["prompt", "size", "steps"])
def test_a_change_in_between_reuses_nothing_stale(tiny: Tiny, change: str) -> None:
    model = tiny.build()
    scheduler = Timesteps()
    with attach(model, StepCaching(keys=(0,)), scheduler=scheduler) as handle, torch.inference_mode():
        run(model, tiny, 2)
        after = inputs_at(tiny, 2)
        name = "sample" if "sample" in after else "hidden_states"
        if change == "prompt":
            after["encoder_hidden_states"] = after["encoder_hidden_states"] + 1
        elif change == "size":
            after[name] = after[name][:, :, :, :8].contiguous()
        else:
            scheduler.timesteps = scheduler.timesteps[2:] - 1
        found = tensors(model(**after))
        assert handle.evaluations[-1].key
    assert equal(found, run_once(model, after))


@torch.inference_mode()
def run_once(model: torch.nn.Module, given: dict[str, object]) -> list[torch.Tensor]:
    return tensors(model(**given))
