"""Tiny checkpoints as single files: under the original names, as GGUF, scaled; Stable Diffusion with its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import animatediff, ltx, parts
from tests.tiny import wan as tiny_wan

WEIGHTS = "diffusion_pytorch_model.safetensors"


def build_wan(folder: Path) -> Path:
    """A Wan whose layers can be quantized in blocks of 32, and whose VAE has the blocks of the original."""
    from diffusers import AutoencoderKLWan

    parts.seed()
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=2, latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.1, 0.9, 1.2, 1.0],
    )  # fmt: skip
    transformer = tiny_wan.denoiser(attention_head_dim=16, ffn_dim=32)
    tiny_wan.assemble("WanPipeline", vae=vae.eval(), transformer=transformer).save_pretrained(folder)
    return folder


def build_ltx(folder: Path) -> Path:
    ltx.build("LTXPipeline").save_pretrained(folder)
    return folder


def build_stable_diffusion(folder: Path) -> Path:
    """With the solver that its checkpoints have, which is not that of motion adapters."""
    import diffusers

    parts.seed()
    pipeline = diffusers.StableDiffusionPipeline(
        vae=parts.kl_vae(), text_encoder=parts.clip_text(), tokenizer=parts.word_tokenizer(), unet=parts.unet2d(32),
        scheduler=diffusers.PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def build_adapter(folder: Path) -> Path:
    """A motion adapter with the heads and groups of the published ones, and weights that move something."""
    parts.seed(1)
    adapter = animatediff.adapter(
        block_out_channels=(32, 64), motion_num_attention_heads=8, motion_norm_num_groups=32
    )  # fmt: skip
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    adapter.save_pretrained(folder)
    return folder


def adapter_to_original(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of AnimateDiff's own files."""
    names = (
        (".norm1.", ".norms.0."), (".norm2.", ".norms.1."), (".norm3.", ".ff_norm."),
        (".attn1.", ".attention_blocks.0."),
        (".attn2.", ".attention_blocks.1."), (".pos_embed.pe", ".attention_blocks.0.pos_encoder.pe"),
    )  # fmt: skip
    found = {}
    for name, tensor in tensors.items():
        parts_of = name.split(".motion_modules.")
        index, _, rest = parts_of[1].partition(".")
        rest = f".{rest}"
        for new, old in names:
            rest = rest.replace(new, old)
        found[f"{parts_of[0]}.motion_modules.{index}.temporal_transformer{rest}"] = tensor
    return found


def weights_of(folder: Path, component: str) -> dict[str, torch.Tensor]:
    """A component's tensors, from its folder."""
    (path,) = (folder / component).glob("*.safetensors")
    return load_file(path)


def save(tensors: Mapping[str, Any], path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def save_gguf(
    tensors: Mapping[str, torch.Tensor], path: Path, kind: str = "F32", *, reshaped: tuple[str, ...] = ()
) -> Path:
    """kind: `F32`, `F16` of all matrices, or `Q8_0` of those that it can hold; reshaped: tensors that are stored as
    matrices, with their own shape as a setting."""
    writer = gguf.GGUFWriter(str(path), "wan")
    for name, tensor in tensors.items():
        values = tensor.float().numpy()
        if name in reshaped:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(map(int, values.shape)))
            values = values.reshape(values.shape[0], -1)
        if kind == "F16" and values.ndim > 1:
            values = values.astype(np.float16)
        if kind == "Q8_0" and values.ndim == 2 and values.shape[1] % 32 == 0:
            packed = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def scale_to_fp8(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As ComfyUI's scaled files: the matrices in fp8, each with a scale, and a marker."""
    found: dict[str, torch.Tensor] = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or not name.endswith(".weight"):
            found[name] = tensor
            continue
        scale = tensor.abs().max() / 448
        found[name] = (tensor / scale).to(torch.float8_e4m3fn)
        found[f"{name.removesuffix('.weight')}.scale_weight"] = scale
    return found
