"""Counted stages: peaks of passes without values against those of the same passes on real tensors."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.tiny.table import TinyCall, load_rows
from tools.bench.plan.measuring import measure
from videogen import Engine, RenderRequest, UnsupportedError
from videogen.planning.counter import LiveStorageCounter
from videogen.planning.plan import plan_loaded
from videogen.planning.stage_counts import DECODE, DENOISE, TEXT

ENGINES = (
    "guidance_scale", "true_cfg_scale", "frame_rate", "fps", "target_fps", "min_guidance_scale", "max_guidance_scale",
)  # fmt: skip
ROWS = (
    "LTXPipeline", "AnimateDiffPipeline", "CogVideoXPipeline:1.5", "LTX2Pipeline", "TextToVideoSDPipeline",
    "AnimateDiffSDXLPipeline", "CogVideoXPipeline", "HunyuanVideoPipeline", "WanPipeline:expand",
    pytest.param("WanVACEPipeline", id="control latents"),
    pytest.param("AnimateDiffPAGPipeline", id="a third guidance branch"),
    pytest.param("AnimateDiffControlNetPipeline", id="a control net"),
    pytest.param("SkyReelsV2DiffusionForcingPipeline", id="a timestep per frame"),
    pytest.param("LTXConditionPipeline", id="tokens of condition images"),
    pytest.param("LTX2InContextPipeline", id="tokens of a reference clip"),
    pytest.param("HunyuanVideo15Pipeline", id="texts cut by their masks"),
    pytest.param("WanImageToVideoPipeline", id="an image encoder and the VAE's"),
    pytest.param("Cosmos3OmniPipeline", id="one transformer for text and video"),
)  # fmt: skip


def peaks(name: str) -> tuple[dict[str, int], dict[str, int], int]:
    """(planned, measured) bytes above the weights, by stage; bytes of the weights."""
    row = load_rows()[name]
    frames, width, height = row.sizes[0]
    engine = Engine.from_pipeline(row.build())
    hosted = engine.backbone.native_guidance == "pipeline"
    own = {key: value for key, value in row.options.items() if key not in ENGINES} if hosted else {}
    given = row.given(TinyCall(frames, width, height)) if hosted else {}
    request = RenderRequest(
        "a red ball", frames=frames, width=width, height=height, steps=2, continuity="off", options=own or None,
        conditions=given or None,
    )  # fmt: skip
    plan = plan_loaded(engine.backbone, request, calibrate=False)
    meters = measure(engine, request, counts=True)
    planned = {stage.name: stage.activations for stage in plan.chosen.stages}
    return planned, {stage: meter.peak for stage, meter in meters.items()}, sum(plan.weights.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_each_stage_takes_what_is_planned(name: str) -> None:
    planned, measured, weights = peaks(name)
    assert planned[DENOISE] == pytest.approx(measured[DENOISE], rel=0.1)
    for stage, peak in measured.items():
        assert weights + planned[stage] == pytest.approx(weights + peak, rel=0.1), stage


@pytest.mark.slow
def test_a_vae_that_decodes_in_its_pipeline_alone_is_named() -> None:
    with pytest.raises(UnsupportedError, match="AutoencoderKLMiniMaxH3 cannot be used outside its pipeline's call"):
        peaks("MiniMaxH3ModularPipeline")


def test_masks_have_their_values() -> None:
    """Text is cut by its mask, in a pass without values."""
    values = torch.arange(20).reshape(2, 10) < 7
    with FakeTensorMode(), LiveStorageCounter() as counter:
        text, mask = torch.empty(2, 10, 8), torch.empty(2, 10, dtype=torch.bool)
        counter.values.set(mask, values)
        assert text[mask].shape == (7, 8)
        assert text[~mask].shape == (13, 8)
        assert text[mask.roll(1)].shape == (7, 8)
        assert int(mask.sum()) == 7


@pytest.mark.parametrize("model", ["embedded", pytest.param("embedded-unet", marks=pytest.mark.slow)])
def test_the_embedded_models_take_what_is_planned(model: str) -> None:
    engine = Engine.load(model, device="cpu")
    request = RenderRequest("a red ball moves right on a black background", frames=9, steps=2)
    plan = plan_loaded(engine.backbone, request, calibrate=False)
    meters = measure(engine, request, counts=True)
    for stage in plan.chosen.stages:
        assert meters[stage.name].peak == pytest.approx(stage.activations, rel=0.1), stage.name
        assert stage.resident == sum(plan.weights.values())
    real = sum(
        w.numel() * w.element_size() for part in engine.backbone.components().values() for w in part.parameters()
    )
    assert sum(plan.weights.values()) == real


def test_freed_storages_are_no_longer_live() -> None:
    with LiveStorageCounter() as counter:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second[:10] * 2
        del second
        assert counter.live == third.numel() * 4
    assert counter.peak == 2 * 4000


def test_views_and_weights_take_nothing() -> None:
    weight = torch.zeros(50, 50)
    with LiveStorageCounter() as counter:
        counter.ignore([weight])
        _ = weight.T[:5].reshape(5, 50)
    assert counter.peak == 0


def test_inference_mode_counts_what_composite_operators_allocate() -> None:
    q = torch.zeros(1, 2, 64, 8)
    with torch.no_grad(), LiveStorageCounter() as plain:
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    with torch.inference_mode(), LiveStorageCounter() as inference:
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert plain.peak == inference.peak > 0 and plain.flops == inference.flops == 4 * 2 * 64 * 64 * 8


def test_stages_of_the_smallest_plan_are_in_order() -> None:
    plan = plan_loaded(Engine.load("embedded", device="cpu").backbone, RenderRequest("a", frames=9), calibrate=False)
    assert [stage.name for stage in plan.chosen.stages] == [TEXT, DENOISE, DECODE]
