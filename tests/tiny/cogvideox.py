"""Tiny CogVideoX pipelines: text, image, video and control to video (generations 1 and 1.5), and ConsisID.

The VAE decodes pairs of latent frames, so a video has 8k+1 frames; with a transformer that patches two latent frames
(1.5), text and image to video take 8k+1 as well (a latent frame is added in front and cut again), video to video and
control take 8k. ConsisID's face features come from insightface, facexlib and an EVA-CLIP package in real use; here
they are random tensors of the shapes the transformer expects.
"""

from __future__ import annotations

from typing import Any

import torch

from tests.tiny import parts
from tests.tiny.table import Tiny, TinyCall

SIZES = ((9, 32, 32), (17, 48, 32))
SIZES_OF_PAIRS = ((8, 32, 32), (16, 48, 32))
SOLVERS = ("CogVideoXDPMScheduler", "DDIMScheduler")
TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 1, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "time_embed_dim": 8,
    "text_embed_dim": 16, "num_layers": 1, "sample_width": 8, "sample_height": 8, "sample_frames": 9,
    "max_text_seq_length": 16,
}  # fmt: skip
SECOND: dict[str, Any] = {"patch_size_t": 2, "patch_bias": False, "use_rotary_positional_embeddings": True}
FACE: dict[str, Any] = {
    "is_train_face": True, "cross_attn_interval": 1, "cross_attn_dim_head": 8, "cross_attn_num_heads": 2,
    "LFE_id_dim": 12, "LFE_vit_dim": 8, "LFE_depth": 2, "LFE_dim_head": 8, "LFE_num_heads": 1, "LFE_num_id_token": 2,
    "LFE_num_querie": 4, "LFE_output_dim": 10, "LFE_ff_mult": 1, "LFE_num_scale": 2,
}  # fmt: skip


def vae(**config: Any) -> Any:
    """8 px and 4 frames per latent."""
    from diffusers import AutoencoderKLCogVideoX

    return AutoencoderKLCogVideoX(
        block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2, **config
    ).eval()


def components(transformer: Any, **vae_config: Any) -> dict[str, Any]:
    from diffusers import CogVideoXDDIMScheduler

    scheduler = CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", snr_shift_scale=1.0
    )
    return {
        "tokenizer": parts.word_tokenizer(), "text_encoder": parts.t5(), "vae": vae(**vae_config),
        "transformer": transformer.eval(), "scheduler": scheduler,
    }  # fmt: skip


def build(name: str, *, vae_config: dict[str, Any] | None = None, **config: Any) -> Any:
    """A pipeline of the class `name`. config: of its transformer."""
    import diffusers

    parts.seed()
    model = diffusers.ConsisIDTransformer3DModel if name.startswith("Consis") else diffusers.CogVideoXTransformer3DModel
    return parts.quiet(getattr(diffusers, name)(**components(model(**TRANSFORMER | config), **vae_config or {})))


def text(call: TinyCall) -> dict[str, Any]:
    """Arguments that all classes take."""
    return {
        "prompt": call.prompt, "negative_prompt": call.negative_prompt, "height": call.height, "width": call.width,
        "num_inference_steps": call.steps, "guidance_scale": 4.0 if call.guided else 1.0, "max_sequence_length": 16,
    }  # fmt: skip


def first_frame(call: TinyCall) -> dict[str, Any]:
    return {"image": parts.image(call.width, call.height)}


def call_image(call: TinyCall) -> dict[str, Any]:
    image = first_frame(call)["image"]
    images = image if len(call.prompts) == 1 else [image] * len(call.prompts)
    return text(call) | {"image": images, "num_frames": call.frames}


def source(call: TinyCall) -> dict[str, Any]:
    return {"video": parts.clip(call.frames, call.width, call.height), "strength": 0.7}


def control(call: TinyCall) -> dict[str, Any]:
    return {"control": {"control": parts.clip(call.frames, call.width, call.height)}}


def call_control(call: TinyCall) -> dict[str, Any]:
    clip = control(call)["control"]["control"]
    return text(call) | {"control_video": clip if len(call.prompts) == 1 else [clip] * len(call.prompts)}


def face() -> dict[str, Any]:
    """Features of a face at the sizes of `FACE`: identity, and the layers of a vision tower."""
    draws = torch.Generator().manual_seed(7)
    return {
        "id_cond": torch.randn(1, 12, generator=draws),
        "id_vit_hidden": [torch.randn(1, 5, 8, generator=draws) for _ in range(2)],
    }


OPTIONS = {"max_sequence_length": 16}

ROWS = (
    Tiny(
        "CogVideoXPipeline",
        build=lambda: build("CogVideoXPipeline"),
        call=lambda call: text(call) | {"num_frames": call.frames},
        sizes=SIZES, options=OPTIONS, solvers=SOLVERS, core=True,
    ),
    Tiny(
        "CogVideoXPipeline:rotary",
        build=lambda: build("CogVideoXPipeline", use_rotary_positional_embeddings=True),
        call=lambda call: text(call) | {"num_frames": call.frames},
        sizes=SIZES, options=OPTIONS, solvers=SOLVERS,
    ),
    Tiny(
        "CogVideoXPipeline:1.5",
        build=lambda: build("CogVideoXPipeline", **SECOND),
        call=lambda call: text(call) | {"num_frames": call.frames},
        sizes=SIZES, options=OPTIONS, solvers=SOLVERS,
    ),
    Tiny(
        "CogVideoXImageToVideoPipeline",
        build=lambda: build("CogVideoXImageToVideoPipeline", in_channels=8, use_rotary_positional_embeddings=True),
        call=call_image, given=first_frame,
        sizes=SIZES, options=OPTIONS, solvers=SOLVERS,
    ),
    Tiny(
        "CogVideoXImageToVideoPipeline:1.5",
        build=lambda: build(
            "CogVideoXImageToVideoPipeline", in_channels=8, ofs_embed_dim=8, **SECOND,
            vae_config={"invert_scale_latents": True},
        ),
        call=call_image, given=first_frame,
        sizes=SIZES, options=OPTIONS, solvers=SOLVERS,
    ),
    Tiny(
        "CogVideoXVideoToVideoPipeline",
        build=lambda: build("CogVideoXVideoToVideoPipeline", use_rotary_positional_embeddings=True),
        call=lambda call: text(call) | source(call), given=source,
        sizes=SIZES, options=OPTIONS, solvers=SOLVERS, batch=False,
    ),
    Tiny(
        "CogVideoXVideoToVideoPipeline:1.5",
        build=lambda: build("CogVideoXVideoToVideoPipeline", **SECOND),
        call=lambda call: text(call) | source(call), given=source,
        sizes=SIZES_OF_PAIRS, options=OPTIONS, solvers=SOLVERS, batch=False,
    ),
    Tiny(
        "CogVideoXFunControlPipeline",
        build=lambda: build("CogVideoXFunControlPipeline", in_channels=8, use_rotary_positional_embeddings=True),
        call=call_control, given=control,
        sizes=SIZES, options=OPTIONS, solvers=("DDIMScheduler", "EulerDiscreteScheduler"),
    ),
    Tiny(
        "CogVideoXFunControlPipeline:1.5",
        build=lambda: build("CogVideoXFunControlPipeline", in_channels=8, **SECOND),
        call=call_control, given=control,
        sizes=SIZES_OF_PAIRS, options=OPTIONS, solvers=("DDIMScheduler", "EulerDiscreteScheduler"),
    ),
    Tiny(
        "ConsisIDPipeline",
        build=lambda: build("ConsisIDPipeline", in_channels=8, use_rotary_positional_embeddings=True, **FACE),
        call=lambda call: call_image(call) | face(), given=first_frame,
        sizes=SIZES, options=OPTIONS | face(), solvers=SOLVERS,
    ),
)  # fmt: skip

UNAVAILABLE: dict[str, str] = {}
