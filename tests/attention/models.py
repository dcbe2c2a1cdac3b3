"""Tiny random models of diffusers' video denoisers, one row each: how to build it and what to call it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import diffusers
import torch
from diffusers.models.embeddings import get_3d_rotary_pos_embed, get_3d_rotary_pos_embed_allegro
from torch import Tensor, nn

FRAMES, ROWS, COLUMNS = 4, 6, 8  # tokens of a video, after patching
VIDEO = FRAMES * ROWS * COLUMNS
TEXT, TEXT_DIM = 8, 16  # text tokens given, the last two of them padding where the model takes a mask


@dataclass(frozen=True)
class Tiny:
    name: str  # the class name
    build: Callable[[], Any]  # a module, seeded, in eval mode, fp32
    inputs: Callable[
        [], dict[str, Any]
    ]  # keyword arguments of forward, seeded; includes timestep and return_dict=False
    joint_text: int = (
        0  # text (and image) tokens in its joint self-attention sequence; 0 where they are cross-attended only
    )


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def latents(channels: int = 4, patch: int = 2, frames: int = FRAMES, seed: int = 1) -> Tensor:
    return noise(1, channels, frames, ROWS * patch, COLUMNS * patch, seed=seed)


def frames_first(channels: int = 4) -> Tensor:
    return latents(channels).transpose(1, 2).contiguous()


def text(tokens: int = TEXT, dim: int = TEXT_DIM, seed: int = 2) -> Tensor:
    return noise(1, tokens, dim, seed=seed)


def padding(tokens: int = TEXT, dtype: torch.dtype = torch.int64) -> Tensor:
    """A mask of the text that hides its last two tokens."""
    return (torch.arange(tokens) < tokens - 2).unsqueeze(0).to(dtype)


def build(name: str, config: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = getattr(diffusers, name)(**config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # gates and last layers start at zero and would hide the layers before them
                parameter.normal_(std=0.1)
    return model


def row(name: str, config: dict[str, Any], inputs: Callable[[], dict[str, Any]], joint_text: int = 0) -> Tiny:
    def call() -> dict[str, Any]:
        return {"timestep": torch.tensor([500.0]), **inputs(), "return_dict": False}

    return Tiny(name, partial(build, name, config), call, joint_text)


def wan_inputs(**more: Any) -> dict[str, Any]:
    return {"hidden_states": latents(), "encoder_hidden_states": text()} | more


def vace_inputs() -> dict[str, Any]:
    return wan_inputs(control_hidden_states=latents(12, seed=3))


def chronoedit_inputs() -> dict[str, Any]:
    many = {"encoder_hidden_states": text(512)}  # its attention treats the last 512 tokens as text, whatever they are
    return wan_inputs(encoder_hidden_states_image=text(5, 12, seed=3), **many)


def helios_inputs() -> dict[str, Any]:
    return wan_inputs(
        indices_hidden_states=torch.arange(10, 10 + FRAMES).unsqueeze(0),
        latents_history_long=latents(frames=4, seed=3), indices_latents_history_long=torch.arange(4).unsqueeze(0),
        latents_history_mid=latents(frames=2, seed=4), indices_latents_history_mid=torch.arange(4, 6).unsqueeze(0),
        latents_history_short=latents(frames=1, seed=5), indices_latents_history_short=torch.arange(9, 10).unsqueeze(0),
    )  # fmt: skip


def cogvideox_inputs(**more: Any) -> dict[str, Any]:
    rope = get_3d_rotary_pos_embed(16, ((0, 0), (ROWS, COLUMNS)), (ROWS, COLUMNS), FRAMES)
    return {"hidden_states": frames_first(), "encoder_hidden_states": text(), "image_rotary_emb": rope, **more}


def consisid_inputs() -> dict[str, Any]:
    return cogvideox_inputs(id_cond=noise(1, 12, seed=3), id_vit_hidden=[text(5, 16, seed=4), text(5, 16, seed=5)])


def hunyuan_inputs(**more: Any) -> dict[str, Any]:
    guidance = {"guidance": torch.tensor([6000.0])}
    return wan_inputs(encoder_attention_mask=padding(), pooled_projections=noise(1, 8, seed=3), **guidance, **more)


def hunyuan15_inputs() -> dict[str, Any]:
    return {
        "hidden_states": latents(patch=1), "encoder_hidden_states": text(), "encoder_attention_mask": padding(),
        "encoder_hidden_states_2": text(4, 12, seed=3), "encoder_attention_mask_2": padding(4),
        "image_embeds": text(3, 12, seed=4),
    }  # fmt: skip


def framepack_inputs() -> dict[str, Any]:
    return hunyuan_inputs(
        image_embeds=text(3, 12, seed=4), indices_latents=torch.arange(10, 10 + FRAMES),
        latents_history_4x=latents(frames=4, seed=5), indices_latents_history_4x=torch.arange(1, 5),
        latents_history_2x=latents(frames=2, seed=6), indices_latents_history_2x=torch.arange(5, 7),
        latents_clean=latents(frames=1, seed=7), indices_latents_clean=torch.arange(1),
    )  # fmt: skip


def ltx_inputs(**more: Any) -> dict[str, Any]:
    size = {"num_frames": FRAMES, "height": ROWS, "width": COLUMNS}
    return {
        "hidden_states": text(VIDEO, 4, seed=1),
        "encoder_hidden_states": text(),
        "encoder_attention_mask": padding(),
        **size,
        **more,
    }


def ltx2_inputs() -> dict[str, Any]:
    audio = {
        "audio_hidden_states": text(10, 4, seed=3),
        "audio_num_frames": 10,
        "audio_encoder_hidden_states": text(seed=4),
    }
    return ltx_inputs(audio_encoder_attention_mask=padding(), **audio)


def mochi_inputs() -> dict[str, Any]:
    return wan_inputs(encoder_attention_mask=padding(dtype=torch.bool))


def allegro_inputs() -> dict[str, Any]:
    rope = get_3d_rotary_pos_embed_allegro(24, ((0, 0), (ROWS, COLUMNS)), (ROWS, COLUMNS), FRAMES)
    places = (
        torch.cartesian_prod(*(axis.long() for axis in rope[3:])).T.unsqueeze(1).contiguous()
    )  # of tokens, as the pipeline does
    return wan_inputs(encoder_attention_mask=padding(), image_rotary_emb=(rope[:3], tuple(places)))


def cosmos_inputs() -> dict[str, Any]:
    return wan_inputs(fps=24)


def kandinsky5_inputs() -> dict[str, Any]:
    return {
        "hidden_states": latents().permute(0, 2, 3, 4, 1).contiguous(), "encoder_hidden_states": text(),
        "pooled_projections": noise(1, 12, seed=3), "text_rope_pos": torch.arange(TEXT),
        "visual_rope_pos": [torch.arange(FRAMES), torch.arange(ROWS), torch.arange(COLUMNS)],
    }  # fmt: skip


def motif_inputs() -> dict[str, Any]:
    return wan_inputs(encoder_attention_mask=padding())


def unet_inputs(**more: Any) -> dict[str, Any]:
    return {"sample": latents(), "encoder_hidden_states": text()} | more


def motion_inputs() -> dict[str, Any]:
    return unet_inputs(encoder_hidden_states=text().repeat(FRAMES, 1, 1))  # once per frame, as in the pipeline


def latte_inputs() -> dict[str, Any]:
    return wan_inputs(hidden_states=noise(1, 4, FRAMES, 24, 24))


def i2vgen_inputs() -> dict[str, Any]:
    return unet_inputs(
        image_latents=latents(seed=3), image_embeddings=noise(1, TEXT_DIM, seed=4), fps=torch.tensor([16])
    )


def svd_inputs() -> dict[str, Any]:
    return {
        "sample": frames_first(8),
        "encoder_hidden_states": text(1),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]]),
    }


HEADS: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4}
LAYERS = {**HEADS, "num_layers": 2}
WAN = {**LAYERS, "text_dim": TEXT_DIM, "freq_dim": 16, "ffn_dim": 32}
VACE = {**WAN, "vace_layers": [0], "vace_in_channels": 12}
CHRONOEDIT = {**WAN, "image_dim": 12, "added_kv_proj_dim": 32}
HELIOS = {**WAN, "rope_dim": (4, 6, 6)}
COGVIDEOX = {
    **LAYERS, "time_embed_dim": 8, "text_embed_dim": TEXT_DIM, "max_text_seq_length": TEXT,
    "sample_height": 2 * ROWS, "sample_width": 2 * COLUMNS, "use_rotary_positional_embeddings": True,
}  # fmt: skip
CONSISID = {
    **COGVIDEOX, "num_attention_heads": 3, "is_train_face": True, "cross_attn_dim_head": 8, "cross_attn_num_heads": 2,
    "LFE_id_dim": 12, "LFE_vit_dim": 16, "LFE_depth": 2, "LFE_dim_head": 8, "LFE_num_heads": 2, "LFE_num_id_token": 2,
    "LFE_num_querie": 4, "LFE_output_dim": 32, "LFE_ff_mult": 2, "LFE_num_scale": 2,
}  # fmt: skip
EASYANIMATE = {**LAYERS, "patch_size": 2, "mmdit_layers": 1, "time_embed_dim": 8, "text_embed_dim": TEXT_DIM}
JOINT = {**LAYERS, "mlp_ratio": 2.0, "text_embed_dim": TEXT_DIM, "rope_axes_dim": (4, 6, 6)}
HUNYUAN = {**JOINT, "num_layers": 1, "num_single_layers": 1, "num_refiner_layers": 1, "pooled_projection_dim": 8}
HUNYUAN15 = {**JOINT, "num_refiner_layers": 1, "text_embed_2_dim": 12, "image_embed_dim": 12}
FRAMEPACK = {**HUNYUAN, "has_image_proj": True, "image_proj_dim": 12, "has_clean_x_embedder": True}
MOTIF = {**JOINT, "num_layers": 1, "num_single_layers": 1}
MOCHI = {**LAYERS, "pooled_projection_dim": 16, "text_embed_dim": TEXT_DIM, "time_embed_dim": 8}
LTX = {**LAYERS, "cross_attention_dim": 32, "caption_channels": TEXT_DIM}
LTX2 = {
    **LTX, "audio_in_channels": 4, "audio_out_channels": 4, "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 8,
    "audio_cross_attention_dim": 16,
}  # fmt: skip
ALLEGRO = {
    **LTX, "attention_head_dim": 24, "cross_attention_dim": 48, "sample_height": 2 * ROWS, "sample_width": 2 * COLUMNS,
    "sample_frames": FRAMES,
}  # fmt: skip
LATTE = {
    **LTX, "sample_size": 24, "patch_size": 2, "norm_type": "ada_norm_single", "norm_elementwise_affine": False,
    "video_length": FRAMES,
}  # fmt: skip
COSMOS = {
    **LAYERS, "mlp_ratio": 2.0, "text_embed_dim": TEXT_DIM, "adaln_lora_dim": 4, "max_size": (4, 32, 32),
    "concat_padding_mask": False,  # which needs torchvision
}  # fmt: skip
KANDINSKY5: dict[str, Any] = {
    "in_text_dim": TEXT_DIM, "in_text_dim2": 12, "time_dim": 16, "model_dim": 32, "ff_dim": 48, "num_text_blocks": 1,
    "num_visual_blocks": 2, "axes_dims": (4, 6, 6),
}  # fmt: skip


def unet(kind: str, **more: Any) -> dict[str, Any]:
    down, up = f"DownBlock{kind}", f"UpBlock{kind}"
    levels = {"down_block_types": (f"CrossAttn{down}", down), "up_block_types": (up, f"CrossAttn{up}")}
    return {"block_out_channels": (16, 32), "layers_per_block": 1, "cross_attention_dim": TEXT_DIM, **levels, **more}


UNET_3D = unet("3D", norm_num_groups=4, attention_head_dim=8)
UNET_MOTION = unet("Motion", norm_num_groups=4, num_attention_heads=2, motion_num_attention_heads=2)
UNET_SVD = unet(
    "SpatioTemporal", block_out_channels=(32, 64), num_attention_heads=(2, 4), addition_time_embed_dim=8,
    projection_class_embeddings_input_dim=24, num_frames=FRAMES,
)  # fmt: skip

TINY: tuple[Tiny, ...] = (
    row("WanTransformer3DModel", WAN, wan_inputs),
    row("WanVACETransformer3DModel", VACE, vace_inputs),
    row("SkyReelsV2Transformer3DModel", WAN, wan_inputs),
    row("ChronoEditTransformer3DModel", CHRONOEDIT, chronoedit_inputs),
    row("HeliosTransformer3DModel", HELIOS, helios_inputs),  # a history of frames comes before the video
    row("CogVideoXTransformer3DModel", COGVIDEOX, cogvideox_inputs, joint_text=TEXT),  # text first
    row("ConsisIDTransformer3DModel", CONSISID, consisid_inputs, joint_text=TEXT),  # text first
    row("EasyAnimateTransformer3DModel", EASYANIMATE, wan_inputs, joint_text=TEXT),  # text first
    row("HunyuanVideoTransformer3DModel", HUNYUAN, hunyuan_inputs, joint_text=TEXT),  # text last, its padding masked
    row(
        "HunyuanVideo15Transformer3DModel", HUNYUAN15, hunyuan15_inputs, joint_text=3 + 4 + TEXT
    ),  # last; mask of queries and keys
    row(
        "HunyuanVideoFramepackTransformer3DModel", FRAMEPACK, framepack_inputs, joint_text=3 + TEXT - 2
    ),  # last, padding cut off
    row("MotifVideoTransformer3DModel", MOTIF, motif_inputs, joint_text=TEXT),  # text last, its padding masked
    row("MochiTransformer3DModel", MOCHI, mochi_inputs, joint_text=TEXT - 2),  # text last, padding cut off
    row("LTXVideoTransformer3DModel", LTX, ltx_inputs),
    row("LTX2VideoTransformer3DModel", LTX2, ltx2_inputs),  # and self-attention of audio
    row("AllegroTransformer3DModel", ALLEGRO, allegro_inputs),
    row("CosmosTransformer3DModel", COSMOS, cosmos_inputs),
    row("Kandinsky5Transformer3DModel", KANDINSKY5, kandinsky5_inputs),  # returns a tensor, not a tuple
    row(
        "LatteTransformer3DModel", LATTE, latte_inputs
    ),  # from here on: spatial attention per frame, temporal attention per position
    row("UNetMotionModel", UNET_MOTION, motion_inputs),
    row("UNet3DConditionModel", UNET_3D, unet_inputs),
    row("I2VGenXLUNet", UNET_3D, i2vgen_inputs),
    row("UNetSpatioTemporalConditionModel", UNET_SVD, svd_inputs),
)
