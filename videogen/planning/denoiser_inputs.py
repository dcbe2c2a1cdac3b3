"""Inputs of one denoiser call by its class: shapes without values, as the class's own pipeline gives them.

A pipeline prepares these within its call, from prompts and weights; a plan has neither. One function per class of
diffusers; `INPUTS` lists them. Legend: latents [batch, channel, frame, height, width].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from videogen.backbones.anatomy import patch_of
from videogen.core.errors import UnsupportedError


@dataclass(frozen=True)
class CallShape:
    """Of one call. latents: [c, f, h, w] of the clip; batch: samples, twice as many where both guidance branches are
    one batch; text_tokens: per prompt; fps: of the video; size: (height, width) in px."""

    batch: int
    latents: tuple[int, int, int, int]
    text_tokens: int
    dtype: torch.dtype
    fps: float
    size: tuple[int, int]

    @property
    def tokens(self) -> int:
        _, frames, height, width = self.latents
        return frames * height * width

    def empty(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.empty(self.batch, *shape, dtype=dtype or self.dtype)


Inputs = dict[str, Any]
Build = Callable[[CallShape, Mapping[str, Any]], Inputs]


@dataclass(frozen=True)
class InputRow:
    """build: the call's arguments from its shape and the denoiser's configuration; batched: whether both guidance
    branches are evaluated in one call; embedded: whether guidance is an input, so that one branch is evaluated."""

    build: Build
    batched: bool = True
    embedded: bool = False


def find_inputs(denoiser: torch.nn.Module) -> InputRow:
    """The row of a denoiser's class, or of one that it is derived from. UnsupportedError where there is none."""
    names = [kind.__name__ for kind in type(denoiser).__mro__]
    row = next((INPUTS[name] for name in names if name in INPUTS), None)
    if row is None:
        raise UnsupportedError(
            f"{names[0]} cannot be planned: the inputs that its pipeline prepares for it are not known before it runs"
        )
    return row


def _channels(shape: CallShape, config: Mapping[str, Any]) -> torch.Tensor:
    """Latents with as many channels as the model reads: those of conditions are joined to the video's."""
    _, frames, height, width = shape.latents
    return shape.empty(int(config["in_channels"]), frames, height, width)


def _text(shape: CallShape, width: int) -> torch.Tensor:
    return shape.empty(shape.text_tokens, width)


def _mask(shape: CallShape, dtype: torch.dtype | None = None) -> torch.Tensor:
    return shape.empty(shape.text_tokens, dtype=dtype)


def _once(shape: CallShape) -> torch.Tensor:
    return shape.empty(dtype=torch.float32)


def build_wan(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    inputs: Inputs = {
        "hidden_states": _channels(shape, config),
        "timestep": _once(shape),
        "encoder_hidden_states": _text(shape, config["text_dim"]),
    }
    if config.get("image_dim"):
        tokens = (config.get("pos_embed_seq_len") or 257 * 2) // 2
        inputs["encoder_hidden_states_image"] = shape.empty(tokens, config["image_dim"])
        inputs["encoder_hidden_states"] = shape.empty(512, config["text_dim"])
    if config.get("vace_layers"):
        _, frames, height, width = shape.latents
        inputs["control_hidden_states"] = shape.empty(config["vace_in_channels"], frames, height, width)
    return inputs


def build_cogvideox(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    _, frames, height, width = shape.latents
    patch_t, patch = config.get("patch_size_t") or 1, config["patch_size"]
    frames += -frames % patch_t
    inputs: Inputs = {
        "hidden_states": shape.empty(frames, config["in_channels"], height, width),
        "timestep": shape.empty(dtype=torch.int64),
        "encoder_hidden_states": _text(shape, config["text_embed_dim"]),
    }
    if config["use_rotary_positional_embeddings"]:
        tokens = (frames // patch_t) * (height // patch) * (width // patch)
        angles = torch.empty(tokens, config["attention_head_dim"], dtype=torch.float32)
        inputs["image_rotary_emb"] = (angles, torch.empty_like(angles))
    if config.get("ofs_embed_dim"):
        inputs["ofs"] = torch.empty(1, dtype=shape.dtype)
    return inputs


def build_hunyuan(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    inputs: Inputs = {
        "hidden_states": _channels(shape, config),
        "timestep": _once(shape),
        "encoder_hidden_states": _text(shape, config["text_embed_dim"]),
        "encoder_attention_mask": _mask(shape),
        "pooled_projections": shape.empty(config["pooled_projection_dim"]),
    }
    if config.get("guidance_embeds"):
        inputs["guidance"] = _once(shape)
    return inputs


def build_hunyuan15(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    inputs: Inputs = {
        "hidden_states": _channels(shape, config),
        "timestep": _once(shape),
        "encoder_hidden_states": _text(shape, config["text_embed_dim"]),
        "encoder_attention_mask": _mask(shape),
        "encoder_hidden_states_2": shape.empty(256, config["text_embed_2_dim"]),
        "encoder_attention_mask_2": shape.empty(256),
        "image_embeds": shape.empty(729, config["image_embed_dim"]),
    }
    if config.get("use_meanflow"):
        inputs["timestep_r"] = _once(shape)
    return inputs


def build_ltx(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    _, frames, height, width = shape.latents
    return {
        "hidden_states": shape.empty(shape.tokens, config["in_channels"]),
        "timestep": _once(shape),
        "encoder_hidden_states": _text(shape, config["caption_channels"]),
        "encoder_attention_mask": _mask(shape, torch.bool),
        "num_frames": frames, "height": height, "width": width,
        "rope_interpolation_scale": (8 / shape.fps, 32, 32),
    }  # fmt: skip


def build_ltx2(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    _, frames, height, width = shape.latents
    seconds = ((frames - 1) * config["vae_scale_factors"][0] + 1) / shape.fps
    rate = config["audio_sampling_rate"] / config["audio_hop_length"] / config["audio_scale_factor"]
    audio = max(1, round(seconds * rate))
    text = config["caption_channels"] if config.get("caption_channels") else config["cross_attention_dim"]
    audio_text = config["caption_channels"] if config.get("caption_channels") else config["audio_cross_attention_dim"]
    return {
        "hidden_states": shape.empty(shape.tokens, config["in_channels"]),
        "audio_hidden_states": shape.empty(audio, config["audio_in_channels"]),
        "encoder_hidden_states": _text(shape, text),
        "audio_encoder_hidden_states": _text(shape, audio_text),
        "timestep": _once(shape),
        "sigma": _once(shape),
        "encoder_attention_mask": _mask(shape, torch.int64),
        "audio_encoder_attention_mask": _mask(shape, torch.int64),
        "num_frames": frames, "height": height, "width": width, "fps": shape.fps, "audio_num_frames": audio,
        "video_coords": shape.empty(3, shape.tokens, 2, dtype=torch.float32),
        "audio_coords": shape.empty(1, audio, 2, dtype=torch.float32),
    }  # fmt: skip


def build_masked(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    """Latents, a timestep per sample, text and its mask."""
    width = _first(config, "caption_channels", "text_embed_dim", "cross_attention_dim")
    return {
        "hidden_states": _channels(shape, config), "timestep": _once(shape),
        "encoder_hidden_states": _text(shape, width), "encoder_attention_mask": _mask(shape, torch.bool),
    }  # fmt: skip


def build_motif(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    inputs = build_masked(shape, {**config, "caption_channels": config["text_embed_dim"]})
    if config.get("image_embed_dim"):
        inputs["image_embeds"] = shape.empty(shape.text_tokens, config["image_embed_dim"])
    return inputs


def build_allegro(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    _, frames, height, width = shape.latents
    grid = (frames // config["patch_size_temporal"] if config.get("patch_size_temporal") else frames,
            height // config["patch_size"], width // config["patch_size"])  # fmt: skip
    side, tokens = config["attention_head_dim"] // 3, grid[0] * grid[1] * grid[2]
    angles = tuple((torch.empty(n, side), torch.empty(n, side)) for n in grid)
    places = tuple(torch.empty(1, tokens, dtype=torch.int64) for _ in grid)
    return {
        "hidden_states": _channels(shape, config), "timestep": _once(shape),
        "encoder_hidden_states": shape.empty(1, shape.text_tokens, config["caption_channels"]),
        "encoder_attention_mask": _mask(shape, torch.int64), "image_rotary_emb": (angles, places),
    }  # fmt: skip


def build_plain(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    """Latents, a timestep per sample and text."""
    width = _first(config, "caption_channels", "text_embed_dim", "cross_attention_dim")
    return {"hidden_states": _channels(shape, config), "timestep": _once(shape),
            "encoder_hidden_states": _text(shape, width)}  # fmt: skip


def build_cosmos(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    channels, frames, height, width = shape.latents
    inputs: Inputs = {
        "hidden_states": shape.empty(channels, frames, height, width), "timestep": _once(shape),
        "encoder_hidden_states": _text(shape, config["text_embed_dim"]),
        "padding_mask": torch.empty(1, 1, *shape.size, dtype=shape.dtype), "fps": int(shape.fps),
    }  # fmt: skip
    if config["in_channels"] > channels:
        inputs["condition_mask"] = shape.empty(1, frames, height, width)
    return inputs


def build_kandinsky5(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    _, frames, height, width = shape.latents
    patch = patch_of(config)
    channels = config["in_visual_dim"] * 2 + 1 if config.get("visual_cond") else config["in_visual_dim"]
    grid = (frames // patch[0], height // patch[1], width // patch[2])
    return {
        "hidden_states": shape.empty(frames, height, width, channels), "timestep": _once(shape),
        "encoder_hidden_states": _text(shape, config["in_text_dim"]),
        "pooled_projections": shape.empty(config["in_text_dim2"]),
        "visual_rope_pos": [torch.arange(n) for n in grid], "text_rope_pos": torch.arange(shape.text_tokens),
        "scale_factor": (1.0, 2.0, 2.0),
    }  # fmt: skip


def build_unet_clip(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    return {"sample": _channels(shape, config), "timestep": torch.empty((), dtype=torch.int64),
            "encoder_hidden_states": _text(shape, config["cross_attention_dim"])}  # fmt: skip


def build_unet_motion(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    frames = shape.latents[1]
    text = torch.empty(shape.batch * frames, shape.text_tokens, config["cross_attention_dim"], dtype=shape.dtype)
    inputs: Inputs = {"sample": _channels(shape, config), "timestep": torch.empty((), dtype=torch.int64),
              "encoder_hidden_states": text}  # fmt: skip
    if config.get("addition_embed_type") == "text_time":
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        inputs["added_cond_kwargs"] = {"text_embeds": shape.empty(pooled), "time_ids": shape.empty(6)}
    return inputs


def build_svd(shape: CallShape, config: Mapping[str, Any]) -> Inputs:
    _, frames, height, width = shape.latents
    return {
        "sample": shape.empty(frames, config["in_channels"], height, width), "timestep": torch.empty(()),
        "encoder_hidden_states": shape.empty(1, config["cross_attention_dim"]), "added_time_ids": shape.empty(3),
    }  # fmt: skip


def _first(config: Mapping[str, Any], *names: str) -> int:
    return int(next(config[name] for name in names if config.get(name)))


INPUTS: dict[str, InputRow] = {
    "WanTransformer3DModel": InputRow(build_wan, batched=False),
    "WanVACETransformer3DModel": InputRow(build_wan, batched=False),
    "ChronoEditTransformer3DModel": InputRow(build_wan, batched=False),
    "SkyReelsV2Transformer3DModel": InputRow(build_wan, batched=False),
    "CogVideoXTransformer3DModel": InputRow(build_cogvideox),
    "HunyuanVideoTransformer3DModel": InputRow(build_hunyuan, batched=False, embedded=True),
    "HunyuanVideo15Transformer3DModel": InputRow(build_hunyuan15, batched=False),
    "LTXVideoTransformer3DModel": InputRow(build_ltx),
    "LTX2VideoTransformer3DModel": InputRow(build_ltx2),
    "MochiTransformer3DModel": InputRow(build_masked),
    "SanaVideoTransformer3DModel": InputRow(build_masked),
    "MotifVideoTransformer3DModel": InputRow(build_motif, batched=False),
    "AllegroTransformer3DModel": InputRow(build_allegro),
    "LatteTransformer3DModel": InputRow(build_plain),
    "EasyAnimateTransformer3DModel": InputRow(build_plain),
    "CosmosTransformer3DModel": InputRow(build_cosmos, batched=False),
    "Kandinsky5Transformer3DModel": InputRow(build_kandinsky5, batched=False),
    "UNetMotionModel": InputRow(build_unet_motion),
    "UNet3DConditionModel": InputRow(build_unet_clip),
    "UNetSpatioTemporalConditionModel": InputRow(build_svd),
}
