"""Counted stages: peaks of passes without values against those of the same passes on real tensors."""

from __future__ import annotations

import pytest
import torch

from tests.tiny.table import load_rows
from tools.bench.plan.measuring import measure
from videogen import Engine, RenderRequest
from videogen.planning.counter import LiveStorageCounter
from videogen.planning.plan import plan_loaded
from videogen.planning.stage_counts import DECODE, DENOISE, TEXT

ROWS = (
    "LTXPipeline", "AnimateDiffPipeline", "CogVideoXPipeline:1.5", "LTX2Pipeline", "TextToVideoSDPipeline",
    "AnimateDiffSDXLPipeline", "CogVideoXPipeline", "HunyuanVideoPipeline", "WanPipeline:expand",
)  # fmt: skip


def peaks(name: str) -> tuple[dict[str, int], dict[str, int]]:
    """(planned, measured) bytes above the weights, by stage."""
    row = load_rows()[name]
    frames, width, height = row.sizes[-1]
    engine = Engine.from_pipeline(row.build())
    own = {} if "Wan" in name else {k: v for k, v in row.options.items() if k == "max_sequence_length"}
    request = RenderRequest(
        "a red ball", frames=frames, width=width, height=height, steps=2, continuity="off", options=own
    )
    plan = plan_loaded(engine.backbone, request, calibrate=False)
    meters = measure(engine, request, counts=True)
    planned = {stage.name: stage.activations for stage in plan.chosen.stages}
    return planned, {stage: meter.peak for stage, meter in meters.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_denoiser_call_takes_what_is_planned(name: str) -> None:
    planned, measured = peaks(name)
    inputs = 8 * 1024  # the latents and the text, which the plan counts too
    assert abs(planned[DENOISE] - measured[DENOISE]) <= 0.1 * measured[DENOISE] + inputs
    assert measured[DECODE] <= planned[DECODE] + 1024


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
