"""A tiny pipeline run by itself, by the host, and through the engine: what the tests of hosting compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.tiny.modular_rows import SCALE
from tests.tiny.table import Tiny, TinyCall, load_rows
from videogen import Engine, Technique
from videogen.backbones.anatomy import patch_of
from videogen.backbones.clip import PredictionContext
from videogen.backbones.hosting.arguments import option_names
from videogen.backbones.hosting.backbone import HostedBackbone
from videogen.backbones.hosting.draws import Draws
from videogen.backbones.hosting.hosted_clip import HostedClip
from videogen.backbones.hosting.layout import Layout
from videogen.backbones.hosting.lent_loop import LentLoop
from videogen.backbones.hosting.library_version import has_class
from videogen.backbones.hosting.loop_form import read_loop_form
from videogen.backbones.hosting.modular_backbone import ModularBackbone
from videogen.backbones.hosting.modular_loop import ModularLoop, first_block_form
from videogen.backbones.hosting.modular_pipelines import MODULAR_PIPELINES
from videogen.backbones.hosting.outputs import Outputs, read_outputs
from videogen.backbones.hosting.pipeline_row import DRIVEN, PipelineRow
from videogen.backbones.hosting.pipelines import PIPELINES
from videogen.core.denoisers import find_denoisers
from videogen.sampling.loop import LoopState
from videogen.schedulers.noise.source import AddressedNoise, DiffusersNoise

SEED = 3
#: pipelines that make another number of frames than they are called with
IN_SECTIONS = ("HunyuanVideoFramepackPipeline",)


def class_of(row: Tiny) -> str:
    return row.name.partition(":")[0]


def pipeline_row(row: Tiny) -> PipelineRow:
    return (PIPELINES | MODULAR_PIPELINES)[class_of(row)]


def hosted_rows(table: Mapping[str, PipelineRow] = PIPELINES) -> list[Any]:
    """Parameters: every tiny pipeline of a class with a row in the table. All but the representatives are slow."""
    return [
        pytest.param(row, id=name, marks=() if row.core else pytest.mark.slow)
        for name, row in sorted(load_rows().items())
        if class_of(row) in table and has_class(table[class_of(row)])
    ]


def build(row: Tiny, call: TinyCall, solver: str | None = None, dtype: torch.dtype | None = None) -> Any:
    """The pipeline. Its weights are ordinary tensors: a convolution may round otherwise for inference tensors."""
    with torch.inference_mode(False):
        pipeline = row.build()
        if solver is not None:
            pipeline.scheduler = getattr(diffusers, solver).from_config(pipeline.scheduler.config)
        row.prepare(pipeline, call)
        if dtype is not None:
            pipeline.to(dtype)
    return pipeline


def run_pipeline(row: Tiny, call: TinyCall, solver: str | None = None, dtype: torch.dtype | None = None) -> Outputs:
    """The library's own call."""
    generators = [torch.Generator().manual_seed(SEED + k) for k in range(len(call.prompts))]
    with torch.inference_mode():
        result = build(row, call, solver, dtype)(
            **row.call(call), generator=generators if len(generators) > 1 else generators[0], output_type="np"
        )
    return read_outputs(result, row.name)


def open_clip(
    row: Tiny,
    call: TinyCall,
    solver: str | None = None,
    dtype: torch.dtype | None = None,
    *,
    in_order: bool | None = None,
    pipeline: Any = None,
) -> HostedClip:
    """A hosted clip with the arguments of the library's own call. pipeline: built before."""
    pipeline, known = pipeline or build(row, call, solver, dtype), pipeline_row(row)
    kind: Any = type(pipeline)
    scheduler = backbone_of(row, pipeline).scheduler
    sources = [DiffusersNoise(SEED + k) for k in range(len(call.prompts))]
    modular = is_modular(row)
    loop = (ModularLoop if modular else LentLoop)(
        pipeline,
        first_block_form(pipeline) if modular else read_loop_form(kind, known.method),
        type(scheduler).from_config(scheduler.config),
        Draws(sources, Layout(known.noise), known.noise_draw),
        list(find_denoisers(pipeline).values()),
        len(sources),
    )
    arguments = {**row.call(call), "generator": loop.draws.generator, "output_type": "np"}
    driven = known.mode == DRIVEN if in_order is None else in_order
    return HostedClip(loop, arguments, layout_of(row, call, pipeline), in_order=driven)


def layout_of(row: Tiny, call: TinyCall, pipeline: Any) -> Layout:
    """How the engine sees the latents of a clip."""
    known = pipeline_row(row)
    geometry = backbone_of(row, pipeline).geometry
    count = row.call(call).get("num_frames") or call.frames
    frames, height, width = geometry.shape(count, call.height, call.width)[2:]
    denoiser: Any = next(iter(find_denoisers(pipeline).values()))
    patch = patch_of(denoiser.config)[2]
    return Layout(known.latents, (frames, height, width), behind=known.extras_behind, patch=patch)


def backbone_of(row: Tiny, pipeline: Any) -> HostedBackbone:
    return (ModularBackbone if is_modular(row) else HostedBackbone)(pipeline, class_of(row), "tiny")


def run_hosted(row: Tiny, call: TinyCall, solver: str | None = None, dtype: torch.dtype | None = None) -> Outputs:
    """The same clip, each step requested by the engine."""
    with torch.inference_mode(), closing(open_clip(row, call, solver, dtype)) as clip:
        latents, index = clip.initial, 0
        while index < clip.length:
            prediction = clip.predict(context(index), latents)
            latents, index = clip.step(index, prediction, latents), index + 1
        clip.decode(latents)
        return clip.outputs


def context(index: int) -> PredictionContext:
    return PredictionContext(index, 1.0)


def engine_of(row: Tiny, call: TinyCall) -> Engine:
    return Engine(backbone_of(row, build(row, call)))


def assert_equal(found: Outputs, expected: Outputs) -> None:
    assert found.frames.shape == expected.frames.shape
    assert np.array_equal(found.frames, expected.frames)
    assert float(expected.frames.std()) > 1e-3, "a constant video would prove nothing"
    assert (found.audio is None) == (expected.audio is None)
    if found.audio is not None and expected.audio is not None:
        assert torch.equal(found.audio.samples, expected.audio.samples)


def is_modular(row: Tiny) -> bool:
    return class_of(row) in MODULAR_PIPELINES


def request_of(row: Tiny, call: TinyCall) -> dict[str, Any]:
    """The engine's keywords for a tiny call: what the library's own call says, under the engine's names."""
    own, kind = row.call(call), getattr(diffusers, class_of(row))
    given, called = row.given(call), kind() if is_modular(row) else kind
    made = {"conditions", "reference_conditions", "controlnet_frame_indices", "strength"}  # of the conditions
    options = {name: own[name] for name in option_names(called, pipeline_row(row)) if name in own and name not in made}
    scale = SCALE if "guider" in getattr(called, "_component_specs", ()) else None
    return {
        "frames": call.frames if class_of(row) in IN_SECTIONS else own.get("num_frames", call.frames),
        "size": (call.width, call.height),
        "steps": call.steps,
        "seed": SEED,
        "guidance_scale": own.get("guidance_scale", own.get("max_guidance_scale", scale)),
        "fps": own.get("fps", own.get("frame_rate", own.get("target_fps"))),
        "options": options or None,
        **given,
    }


def assert_same_call(row: Tiny) -> None:
    """Conditions and options under the engine's names give what the library's own call gives."""
    call = first_call(row)
    negative = row.call(call).get("negative_prompt")
    video = engine_of(row, call).generate(
        call.prompts[0], negative_prompt=negative, noise="diffusers", **request_of(row, call)
    )
    expected = run_pipeline(row, call)
    assert np.array_equal(video.frames, (expected.frames[0] * 255).round().to(torch.uint8).numpy())


def initial_latents(row: Tiny) -> tuple[torch.Tensor, torch.Tensor]:
    """The latents [channel, frame, height, width] that a run begins with, and the noise of every other model."""
    call, start = first_call(row), StartLatents()
    engine_of(row, call).generate(call.prompts[0], techniques=[start], **request_of(row, call))
    found = start.latents[0]
    channels, frames, height, width = found.shape
    return found, AddressedNoise(SEED).frames(range(frames), (channels, height, width))[0]


def calls(row: Tiny) -> Iterator[TinyCall]:
    """Two sizes and two lengths where the class has them, with and without guidance."""
    for number, size in enumerate(row.sizes):
        yield TinyCall(*size, guided=True)
        if not number:
            yield TinyCall(*size, guided=False)


def first_call(row: Tiny, **changes: Any) -> TinyCall:
    return TinyCall(*row.sizes[0], **changes)


def repeated(prompts: Sequence[str]) -> tuple[str, ...]:
    return tuple(prompts)


class StartLatents(Technique):
    """Notes the latents that a run begins with."""

    latents: torch.Tensor

    def start(self, state: LoopState) -> LoopState:
        self.latents = state.latents.clone()
        return state
