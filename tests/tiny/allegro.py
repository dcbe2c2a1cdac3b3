"""Allegro: four frames per latent frame, decoded in tiles only."""

from __future__ import annotations

from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

OPTIONS = {"max_sequence_length": 16, "clean_caption": False}


def build() -> Any:
    from diffusers import (
        AllegroPipeline,
        AllegroTransformer3DModel,
        AutoencoderKLAllegro,
        EulerAncestralDiscreteScheduler,
    )

    parts.seed()
    transformer = AllegroTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, num_layers=1, cross_attention_dim=24, caption_channels=16,
        sample_height=4, sample_width=4, sample_frames=2,
    ).eval()  # fmt: skip
    vae = AutoencoderKLAllegro(
        block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=4, sample_size=32
    ).eval()
    # Its tiles of 320 px, of which 120 and 80 overlap, at a tenth of the size.
    vae.kernel, vae.stride = (8, 32, 32), (4, 16, 16)
    vae.tile_overlap_t, vae.tile_overlap_h, vae.tile_overlap_w = 4, 16, 16
    vae.enable_tiling()
    vae.enable_slicing()  # tiles take one clip at a time
    scheduler = EulerAncestralDiscreteScheduler(
        beta_start=0.0001, beta_end=0.02, beta_schedule="linear", timestep_spacing="linspace", prediction_type="epsilon"
    )
    return parts.quiet(AllegroPipeline(parts.word_tokenizer(), parts.t5(), vae, transformer, scheduler))


def call(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "num_frames": call.frames,
        "height": call.height, "width": call.width, "num_inference_steps": call.steps,
        "guidance_scale": 7.5 if call.guided else 1.0, **OPTIONS,
    }  # fmt: skip


ROWS = (
    Tiny(
        "AllegroPipeline", build, call, sizes=((8, 32, 32), (12, 48, 32)), options=OPTIONS,
        solvers=("DDIMScheduler", "DPMSolverMultistepScheduler"), core=True,
    ),
)  # fmt: skip
