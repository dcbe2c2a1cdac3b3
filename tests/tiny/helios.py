"""Helios: autoregressive video of segments with a history at three scales, and its pyramid of resolutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall
from tests.tiny.wan import Words, text_parts

#: Latent frames per segment, and frames of the video in one.
SEGMENT, FRAMES = 3, 9
SEGMENTS: Words = {"history_sizes": [4, 2, 1], "num_latent_frames_per_chunk": SEGMENT, "max_sequence_length": 16}
#: Steps at each of the two resolutions.
PYRAMID: Words = {**SEGMENTS, "pyramid_num_inference_steps_list": [2, 2]}
SIZES = ((9, 32, 32), (17, 48, 32))
SOLVERS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler")
#: The low resolution has half the size.
PYRAMID_SIZES = ((9, 32, 32), (17, 64, 32))
#: More than one token per frame at the low resolution: with one, the library's `view` of the prediction fails.
ZERO_STAR_SIZES = ((9, 64, 64), (17, 96, 64))


def denoiser(**config: Any) -> Any:
    from diffusers import HeliosTransformer3DModel

    return HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, text_dim=16, freq_dim=16,
        ffn_dim=16, num_layers=2, rope_dim=(4, 2, 2), **config,
    ).eval()  # fmt: skip


def components(**config: Any) -> Words:
    from diffusers import HeliosScheduler

    scheduler = HeliosScheduler(stages=1, stage_range=[0, 1])
    return {**text_parts(), "vae": parts.wan_vae(), "transformer": denoiser(**config), "scheduler": scheduler}


def pyramid() -> Words:
    from diffusers import HeliosScheduler

    return {**components(), "scheduler": HeliosScheduler(stages=2, stage_range=[0, 0.5, 1])}


def pyramid_zero_star() -> Words:
    """Guidance of which the unconditional prediction is scaled, and the first steps are zero."""
    return {**pyramid(), "is_cfg_zero_star": True}


def distilled() -> Words:
    from diffusers import HeliosDMDScheduler

    return {**components(), "scheduler": HeliosDMDScheduler(stages=2, stage_range=[0, 0.5, 1]), "is_distilled": True}


def builder(name: str, parts_of: Callable[[], Words]) -> Callable[[], Any]:
    def build() -> Any:
        import diffusers

        parts.seed()
        return parts.quiet(getattr(diffusers, name)(**parts_of()))

    return build


def nothing(call: TinyCall) -> Words:
    return {}


def first(call: TinyCall) -> Words:
    return {"image": parts.image(call.width, call.height, 40)}


def source(call: TinyCall) -> Words:
    """A video of one segment that the clip continues."""
    return {"video": parts.clip(FRAMES, call.width, call.height)}


def words(call: TinyCall) -> Words:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "guidance_scale": 5.0 if call.guided else 1.0, "num_frames": call.frames,
    }  # fmt: skip


def row(name: str, given: Callable[[TinyCall], Words] = nothing, core: bool = False, batch: bool = True) -> Tiny:
    def call(tiny: TinyCall) -> Words:
        return {**words(tiny), "num_inference_steps": tiny.steps, **SEGMENTS, **given(tiny)}

    build = builder("HeliosPipeline", components)
    return Tiny(name, build, call, SIZES, given, SEGMENTS, SOLVERS, batch=batch, core=core)


def pyramid_row(
    name: str, parts_of: Callable[[], Words] = pyramid, given: Callable[[TinyCall], Words] = nothing
) -> Tiny:
    """The steps are those of the list, whatever the call states."""

    def call(tiny: TinyCall) -> Words:
        return {**words(tiny), **PYRAMID, **given(tiny)}

    return Tiny(name, builder("HeliosPyramidPipeline", parts_of), call, PYRAMID_SIZES, given, PYRAMID)


ROWS: tuple[Tiny, ...] = (
    row("HeliosPipeline", core=True),
    row("HeliosPipeline:image", first, batch=False),
    row("HeliosPipeline:video", source, batch=False),
    pyramid_row("HeliosPyramidPipeline"),
    replace(pyramid_row("HeliosPyramidPipeline:zero-star", pyramid_zero_star), sizes=ZERO_STAR_SIZES),
    replace(pyramid_row("HeliosPyramidPipeline:image", given=first), batch=False),
    pyramid_row("HeliosPyramidPipeline:distilled", distilled),
)

#: Classes without a row, and why.
UNAVAILABLE: dict[str, str] = {}
