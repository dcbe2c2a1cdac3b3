"""Several clips at once on pipelines of the library: as each alone, or one after another where a batch would differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.contract.hosting import class_of, engine_of, first_call, hosted_rows, pipeline_row, request_of
from tests.tiny.table import PROMPT, Tiny, load_rows
from videogen import Video
from videogen.backbones.hosting.modular_pipelines import MODULAR_PIPELINES
from videogen.backbones.hosting.pipelines import PIPELINES

PROMPTS = [PROMPT, "a blue square on a black background"]


def shares_batches(row: Tiny) -> bool:
    """Whether clips of this tiny pipeline, made from its conditions, are generated at once."""
    known, given = pipeline_row(row), row.given(first_call(row))
    return known.batches and {name for name in given if name != "strength"} <= set(known.batched_inputs)


def clips(row: Tiny, **options: Any) -> list[Video]:
    call = first_call(row)
    request = request_of(row, call)
    request.pop("seed", None)
    return engine_of(row, call).generate(PROMPTS, seeds=[3], **options, **request)


ROWS = hosted_rows()


@pytest.mark.parametrize("row", [one for one in ROWS if shares_batches(one.values[0])])
def test_clips_of_a_batch_are_those_alone_up_to_rounding(row: Tiny) -> None:
    together, alone = clips(row, batch_size=2), clips(row, batch_size=1)
    for video, other in zip(together, alone, strict=True):
        assert video.manifest is not None and video.manifest["measured"]["batch"]["size"] == 2
        assert np.abs(video.frames.astype(int) - other.frames).max() <= 1
    assert not np.array_equal(together[0].frames, together[1].frames)


@pytest.mark.parametrize("name", ["LattePipeline", "StableVideoDiffusionPipeline", "CogVideoXImageToVideoPipeline"])
def test_others_are_rendered_one_after_another(name: str) -> None:
    """Of two clips at once, Latte gives both the same text; the others refuse one image for two prompts."""
    row = load_rows()[name]
    assert not shares_batches(row)
    for video in clips(row, batch_size=2):
        assert video.manifest is not None and "batch" not in video.manifest["measured"]


def test_only_pipelines_whose_batches_are_tested_have_them() -> None:
    tested = {class_of(one.values[0]) for one in ROWS if shares_batches(one.values[0])}
    claimed = {name for name, row in PIPELINES.items() if (row.batches and not row.needs) or row.batched_inputs}
    assert claimed <= tested


def test_modular_pipelines_render_clips_one_after_another() -> None:
    row = load_rows()["WanModularPipeline"]
    call = first_call(row)
    videos = engine_of(row, call).generate(
        PROMPTS, frames=call.frames, size=(call.width, call.height), steps=2, guidance_scale=4.0
    )
    assert not any("batch" in (video.manifest or {})["measured"] for video in videos)
    assert not any(row.batches for row in MODULAR_PIPELINES.values())
