"""Each tiny pipeline builds, runs as its row says and gives a video; the same weights each time."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny.table import LINEAGES, Tiny, TinyCall, load_rows

TABLE = load_rows()


def rows(*, having: str = "name") -> list[Any]:
    """Parameters of a test: the rows whose field `having` is true. All but the representatives are slow."""
    return [
        pytest.param(row, id=name, marks=() if row.core else pytest.mark.slow)
        for name, row in sorted(TABLE.items())
        if getattr(row, having)
    ]


def video(row: Tiny, call: TinyCall, solver: str | None = None) -> np.ndarray:
    """[batch, frames, height, width, 3] of the pipeline's own call; of an image pipeline, one frame. Text2Video-Zero
    gives one video as a batch of images."""
    import diffusers
    from diffusers.modular_pipelines.modular_pipeline import PipelineState

    pipeline = row.build()
    if solver is not None:
        pipeline.scheduler = getattr(diffusers, solver).from_config(pipeline.scheduler.config)
    row.prepare(pipeline, call)
    generators = [torch.Generator().manual_seed(seed) for seed, _ in enumerate(call.prompts)]
    result = pipeline(
        **row.call(call), generator=generators if len(generators) > 1 else generators[0], output_type="np"
    )
    if isinstance(result, PipelineState):
        result = result.values
    pixels = np.asarray(next(result[key] for key in ("frames", "videos", "video", "images") if key in result))
    if pixels.ndim == 4:
        return pixels[None] if len(pixels) == call.frames else pixels[:, None]
    return pixels


@functools.cache
def plain_video(name: str, size: tuple[int, int, int], *, guided: bool = True) -> np.ndarray:
    return video(TABLE[name], TinyCall(*size, guided=guided))


@pytest.mark.parametrize("row", rows())
def test_videos_have_the_requested_frames_and_size(row: Tiny) -> None:
    for frames, width, height in row.sizes:
        pixels = plain_video(row.name, (frames, width, height))
        assert pixels.shape == (1, frames, height, width, 3)
        assert np.isfinite(pixels).all() and pixels.std() > 1e-3, "a constant video"


@pytest.mark.parametrize("row", rows(having="guides"))
def test_guidance_has_an_effect(row: Tiny) -> None:
    size = row.sizes[0]
    assert not np.array_equal(plain_video(row.name, size), plain_video(row.name, size, guided=False))


@pytest.mark.parametrize("row", rows(having="batch"))
def test_several_prompts_give_several_videos(row: Tiny) -> None:
    pixels = video(row, TinyCall(*row.sizes[0], prompts=("a red ball", "blue square moves")))
    assert len(pixels) == 2 and not np.array_equal(pixels[0], pixels[1])


@pytest.mark.parametrize("row", rows(having="solvers"))
def test_other_solvers_run(row: Tiny) -> None:
    first = plain_video(row.name, row.sizes[0])
    for name in row.solvers:
        pixels = video(row, TinyCall(*row.sizes[0]), name)
        assert np.isfinite(pixels).all() and pixels.shape == first.shape, name
        assert not np.array_equal(pixels, first), f"{name} has no effect"


@pytest.mark.parametrize("row", rows())
def test_two_builds_have_the_same_weights(row: Tiny) -> None:
    first, second = (weights(row.build()) for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def weights(pipeline: Any) -> dict[str, torch.Tensor]:
    """By component and parameter."""
    return {
        f"{name}.{key}": value
        for name, component in pipeline.components.items()
        if isinstance(component, torch.nn.Module)
        for key, value in component.state_dict().items()
    }


@pytest.mark.parametrize("lineage", LINEAGES)
def test_a_lineage_has_a_cheap_representative_and_states_what_is_missing(lineage: str) -> None:
    module = import_module(f"tests.tiny.{lineage}")
    assert sum(row.core for row in module.ROWS) == 1
    assert all(len(reason) > 20 for reason in getattr(module, "UNAVAILABLE", {}).values())
