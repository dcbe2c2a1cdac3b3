"""Stable Video Diffusion: image to video without a text."""

from __future__ import annotations

from typing import Any

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

OPTIONS = {"motion_bucket_id": 100, "noise_aug_strength": 0.05, "fps": 9}


def build() -> Any:
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )  # fmt: skip

    parts.seed()
    # 32 channels: the normalisation of these blocks has 32 groups in any case. 224 px: what the pipeline gives to CLIP.
    unet = UNetSpatioTemporalConditionModel(
        sample_size=4, in_channels=8, out_channels=4, num_frames=3, cross_attention_dim=16, layers_per_block=1,
        block_out_channels=(32, 32), num_attention_heads=(2, 2), addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    ).eval()  # fmt: skip
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4, sample_size=32
    ).eval()
    scheduler = EulerDiscreteScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction", use_karras_sigmas=True, timestep_type="continuous", sigma_min=0.002,
        sigma_max=700.0, interpolation_type="linear", steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    encoder = parts.clip_vision(16, 224, projection=16)
    return parts.quiet(StableVideoDiffusionPipeline(vae, encoder, unet, scheduler, parts.clip_image_processor(224)))


def given(call: TinyCall) -> dict[str, Any]:
    return {"image": parts.image(call.width, call.height, 60)}


def call(call: TinyCall) -> dict[str, Any]:
    return {
        "image": given(call)["image"], "height": call.height, "width": call.width, "num_frames": call.frames,
        "num_inference_steps": call.steps, "min_guidance_scale": 1.0, "max_guidance_scale": 3.0 if call.guided else 1.0,
        **OPTIONS,
    }  # fmt: skip


ROWS = (
    Tiny(
        "StableVideoDiffusionPipeline", build, call, sizes=((3, 32, 32), (4, 32, 48)), given=given, options=OPTIONS,
        solvers=("DDIMScheduler",), batch=False, core=True,
    ),
)  # fmt: skip
