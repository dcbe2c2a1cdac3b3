"""Modular pipelines: the lineages that also exist as blocks, of the components of their standard pipelines.

A call returns the pipeline's state, whose `videos` are the frames. Guidance is a component: `prepare` sets its scale.
Those of Wan, HunyuanVideo 1.5 and LTX fail in diffusers 0.42.1 where it is off: their text encoders then leave out the
negative embeddings that later blocks require. Bit for bit the standard pipeline's frames: Wan, HunyuanVideo 1.5 from a
text, Helios' pyramid. LTX differs by 2e-6, HunyuanVideo 1.5 from an image by 0.1, Helios by 0.1.
"""

from __future__ import annotations

from typing import Any

from tests.tiny import (
    helios,
    hunyuan15,
    ltx,
    modular_animate,
    modular_cosmos,
    modular_echo,
    modular_ltx2,
    modular_minimax,
    parts,
    wan,
)
from tests.tiny.modular_rows import SHORT, Words, row
from tests.tiny.table import Tiny

IMAGE_TEXT: Words = {"max_sequence_length": wan.TEXT}
FRAME_RATE: Words = {**SHORT, "frame_rate": 24}


def wan_text(**config: Any) -> Words:
    return {**wan.text_parts(), "scheduler": parts.flow_unipc(), **config}


def vace_experts() -> Words:
    experts = wan.vace()
    return {**wan_text(**experts), "transformer_2": wan.vace()["transformer"], "boundary_ratio": 0.7}


def image_experts() -> Words:
    return wan_text(**wan.image_experts())


def helios_distilled() -> Words:
    distilled = helios.distilled()
    del distilled["is_distilled"]
    return distilled


def ltx_parts() -> Words:
    import diffusers

    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=ltx.CHANNELS, out_channels=ltx.CHANNELS, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, num_layers=1, caption_channels=16,
    )  # fmt: skip
    return {
        "scheduler": ltx.scheduler(), "vae": ltx.vae(), "text_encoder": parts.t5(),
        "tokenizer": parts.word_tokenizer(), "transformer": transformer.eval(),
    }  # fmt: skip


WAN, WAN_I2V = "WanModularPipeline", "WanImage2VideoModularPipeline"
HUNYUAN, LTX, HELIOS = "HunyuanVideo15ModularPipeline", "LTXModularPipeline", "HeliosModularPipeline"
PYRAMID, DISTILLED = "HeliosPyramidModularPipeline", "HeliosPyramidDistilledModularPipeline"

ROWS: tuple[Tiny, ...] = (
    row(WAN, lambda: wan_text(**wan.text_to_video()), solvers=wan.SOLVERS, guides=False, core=True),
    row(WAN_I2V, lambda: wan_text(**wan.image_to_video()), wan.first, IMAGE_TEXT, guides=False, batch=False),
    row("Wan22ModularPipeline", lambda: wan_text(**wan.text_experts()), guides=False),
    row("Wan22Image2VideoModularPipeline", image_experts, wan.first, guides=False, batch=False),
    row(
        "Wan22VaceModularPipeline", vace_experts, wan.masked, names={"references": "reference_images"}, guides=False,
        batch=False,
    ),
    row(HUNYUAN, hunyuan15.text_parts, options={}, sizes=((5, 64, 64), (9, 96, 64)), guides=False, batch=False),
    row(
        f"{HUNYUAN}:image", hunyuan15.image_parts, hunyuan15.first, {}, ((5, 64, 64), (9, 48, 64)), guides=False,
        batch=False, without=("height", "width"),
    ),
    row(LTX, ltx_parts, options=FRAME_RATE, sizes=ltx.SIZES, guides=False),
    row(f"{LTX}:image", ltx_parts, ltx.first_frame, FRAME_RATE, ltx.SIZES, guides=False, batch=False),
    row(HELIOS, helios.components, options=helios.SEGMENTS, sizes=helios.SIZES),
    row(f"{HELIOS}:image", helios.components, helios.first, helios.SEGMENTS, helios.SIZES, batch=False),
    row(f"{HELIOS}:video", helios.components, helios.source, helios.SEGMENTS, helios.SIZES, batch=False),
    row(
        PYRAMID, helios.pyramid, options=helios.PYRAMID, sizes=helios.PYRAMID_SIZES, without=("num_inference_steps",)
    ),
    row(
        DISTILLED, helios_distilled, options=helios.PYRAMID, sizes=helios.PYRAMID_SIZES,
        without=("num_inference_steps",),
    ),
    *modular_ltx2.ROWS,
    *modular_cosmos.ROWS,
    *modular_animate.ROWS,
    *modular_minimax.ROWS,
    *modular_echo.ROWS,
)  # fmt: skip

#: Classes and workflows without a row, and why.
UNAVAILABLE: dict[str, str] = {
    "WanImage2VideoModularPipeline:last-image": "crops the last image with torchvision, which is not installed",
}
