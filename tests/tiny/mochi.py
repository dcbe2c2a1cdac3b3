"""Mochi: joint attention, frames 6k + 1."""

from __future__ import annotations

from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

OPTIONS = {"max_sequence_length": 16}


def build() -> Any:
    from diffusers import (
        AutoencoderKLMochi,
        FlowMatchEulerDiscreteScheduler,
        MochiPipeline,
        MochiTransformer3DModel,
    )  # fmt: skip

    parts.seed()
    transformer = MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16, text_embed_dim=16,
        time_embed_dim=8, max_sequence_length=16,
    ).eval()  # fmt: skip
    # Positions have no effect while their frequencies are zero, as they are when built.
    transformer.pos_frequencies.data.normal_(std=0.5)
    # 32 channels: the normalisation of these blocks has 32 groups in any case.
    vae = AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4, layers_per_block=(1,) * 5,
        add_attention_block=(False, False, False, False, True),
    ).eval()  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    return parts.quiet(MochiPipeline(scheduler, vae, parts.t5(), parts.word_tokenizer(), transformer))


def call(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "num_frames": call.frames,
        "height": call.height, "width": call.width, "num_inference_steps": call.steps,
        "guidance_scale": 4.5 if call.guided else 1.0, **OPTIONS,
    }  # fmt: skip


ROWS = (
    Tiny(
        "MochiPipeline", build, call, sizes=((7, 32, 32), (13, 48, 32)), options=OPTIONS,
        solvers=("EulerDiscreteScheduler",), core=True,
    ),
)  # fmt: skip
