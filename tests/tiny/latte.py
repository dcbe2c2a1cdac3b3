"""Latte: spatial and temporal blocks in turn over an image VAE; as many frames as the model was built for, or one."""

from __future__ import annotations

from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

OPTIONS = {"clean_caption": False}


def build() -> Any:
    from diffusers import DDIMScheduler, LattePipeline, LatteTransformer3DModel

    parts.seed()
    transformer = LatteTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=4,
        cross_attention_dim=16, attention_bias=True, patch_size=2, activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000, norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
        caption_channels=16, video_length=4,
    ).eval()  # fmt: skip
    scheduler = DDIMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear", clip_sample=False)
    return parts.quiet(LattePipeline(parts.word_tokenizer(), parts.t5(), parts.kl_vae(), transformer, scheduler))


def call(call: TinyCall) -> dict[str, Any]:
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "video_length": call.frames,
        "height": call.height, "width": call.width, "num_inference_steps": call.steps,
        "guidance_scale": 7.5 if call.guided else 1.0, **OPTIONS,
    }  # fmt: skip


ROWS = (
    Tiny(
        "LattePipeline", build, call, sizes=((4, 32, 32), (1, 48, 32)), options=OPTIONS,
        solvers=("EulerDiscreteScheduler", "DPMSolverMultistepScheduler"), core=True,
    ),
)  # fmt: skip
