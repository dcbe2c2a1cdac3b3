"""Guidance of single steps of hosted pipelines: it takes effect in every form in which a loop reads its scale."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import torch

from tests.contract.hosting import engine_of, first_call, hosted_rows, pipeline_row, request_of
from tests.tiny.table import Tiny, load_rows
from videogen.backbones.clip import PredictionContext
from videogen.backbones.hosting.hosted_clip import HostedClip
from videogen.backbones.hosting.pipeline_row import DRIVEN
from videogen.core.errors import UnsupportedError
from videogen.engine.options import build_requests
from videogen.motion.camera import Camera
from videogen.request.resolve import resolve
from videogen.sampling.condition_reading import read_conditions
from videogen.sampling.sample import begin
from videogen.schedulers.noise.source import AddressedNoise

SCALE = 4.0
#: pipelines whose model is given no scale unless it was distilled to read one, which these are not
WITHOUT = ("HunyuanVideoImageToVideoPipeline:latent-concat",)
GUIDED = [
    case for case in hosted_rows()
    if pipeline_row(case.values[0]).mode != DRIVEN and case.values[0].guides and case.values[0].name not in WITHOUT
]  # fmt: skip


def open_clip(row: Tiny, scale: float) -> HostedClip:
    call = first_call(row)
    backbone = engine_of(row, call).backbone
    options = request_of(row, call) | {"guidance_scale": scale}
    request = resolve(build_requests("a red ball", options)[0], backbone)
    negatives = [request.negative_prompt] if request.guided else None
    text = backbone.condition([request.prompt], negatives)
    given = read_conditions(request, backbone).given
    clip = begin(backbone, request, text, [AddressedNoise(1)], given=given).clip
    assert isinstance(clip, HostedClip)
    return clip


@pytest.mark.parametrize("row", GUIDED)
def test_a_step_is_guided_by_its_own_scale(row: Tiny) -> None:
    with torch.inference_mode(), closing(open_clip(row, SCALE)) as clip:
        full, none, again = (
            clip.predict(PredictionContext(0, scale), clip.initial).clone() for scale in (SCALE, 1.0, SCALE)
        )
    assert not torch.equal(full, none) and torch.equal(full, again)


def test_a_clip_without_guidance_has_none_at_any_step() -> None:
    with torch.inference_mode(), closing(open_clip(load_rows()["LTXPipeline"], 1.0)) as clip:
        clip.predict(PredictionContext(0, 0.5), clip.initial)
        with pytest.raises(UnsupportedError, match="guidance_scale=3, but its clip was opened without guidance"):
            clip.predict(PredictionContext(0, 3.0), clip.initial)


def test_a_camera_moves_by_dual_clock_where_the_scale_is_a_variable_of_the_call() -> None:
    """A camera's last steps are not guided."""
    row = load_rows()["TextToVideoSDPipeline"]
    call = first_call(row, steps=4)
    engine, options = engine_of(row, call), request_of(row, call)
    dual = engine.generate("a red ball", **options, motion=Camera(pan=4), motion_backend="dual_clock").frames
    assert dual.shape == (call.frames, call.height, call.width, 3)
    assert not np.array_equal(dual, engine.generate("a red ball", **options).frames)


def test_a_scale_for_a_pipeline_that_takes_none_is_refused() -> None:
    row = load_rows()["LTX2DFRPipeline"]
    call = first_call(row)
    options = request_of(row, call) | {"guidance_scale": 5.0}
    with pytest.raises(UnsupportedError, match=r"guidance_scale=5: LTX2DFRPipeline takes none"):
        engine_of(row, call).generate("a red ball", **options)
