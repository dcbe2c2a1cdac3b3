"""Stable Diffusion under the names of its own repository (CompVis, latent-diffusion): UNet, VAE and text encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

Tensors = Mapping[str, torch.Tensor]

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def file_of(unet: Tensors, vae: Tensors, text_encoder: Tensors, *, layers: int) -> dict[str, torch.Tensor]:
    """All tensors of one file, with the buffers of the noise schedule that such files have. layers: residual blocks per
    level of the UNet."""
    return {
        **{f"model.diffusion_model.{unet_name(name, unet, layers)}": tensor for name, tensor in unet.items()},
        **{f"first_stage_model.{vae_name(name)}": _as_convolution(name, tensor) for name, tensor in vae.items()},
        **{f"cond_stage_model.transformer.text_model.{name}": tensor for name, tensor in text_encoder.items()},
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(16)[None],
        "alphas_cumprod": torch.linspace(1, 0, 1000),
        "betas": torch.linspace(0, 0.1, 1000),
    }


def unet_name(name: str, tensors: Tensors, layers: int) -> str:
    """A name of the UNet's."""
    head, _, end = name.rpartition(".")
    if head in _UNET:
        return f"{_UNET[head]}.{end}"
    if name.startswith("mid_block."):
        _, kind, number, rest = name.split(".", 3)
        if kind == "attentions":
            return f"middle_block.1.{rest}"
        return f"middle_block.{2 * int(number)}.{_replace(rest, _RESNET)}"
    found = _BLOCK.fullmatch(name)
    assert found is not None, name
    side, block, kind, index, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    has_attention = any(one.startswith(f"{side}_blocks.{block}.attentions.") for one in tensors)
    if side == "down":
        place = 1 + block * (layers + 1) + (layers if kind == "downsamplers" else index)
        tail = {"resnets": f"0.{_replace(rest, _RESNET)}", "attentions": f"1.{rest}"}.get(kind, f"0.op.{end}")
        return f"input_blocks.{place}.{tail}"
    place = block * (layers + 1) + (layers if kind == "upsamplers" else index)
    tail = {"resnets": f"0.{_replace(rest, _RESNET)}", "attentions": f"1.{rest}"}.get(
        kind, f"{2 if has_attention else 1}.conv.{end}"
    )
    return f"output_blocks.{place}.{tail}"


def vae_name(name: str, levels: int = 4) -> str:
    """A name of the VAE's."""
    side, _, rest = name.partition(".")
    found = _BLOCK.fullmatch(rest)
    if found is not None:
        level = int(found[2]) if found[1] == "down" else levels - 1 - int(found[2])
        kind = {"resnets": f"block.{found[4]}", "downsamplers": "downsample", "upsamplers": "upsample"}[found[3]]
        return f"{side}.{found[1]}.{level}.{kind}.{_replace(found[5], {'conv_shortcut': 'nin_shortcut'})}"
    if rest.startswith("mid_block."):
        _, kind, index, tail = rest.split(".", 3)
        place = "attn_1" if kind == "attentions" else f"block_{int(index) + 1}"
        return f"{side}.mid.{place}.{_replace(tail, _ATTENTION if kind == 'attentions' else {})}"
    return f"{side}.{rest.replace('conv_norm_out', 'norm_out')}"


def _replace(name: str, names: Mapping[str, str]) -> str:
    head, _, end = name.rpartition(".")
    return f"{names.get(head, head)}.{end}"


def _as_convolution(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The VAE's attention has convolutions of 1 x 1 for its linear layers."""
    return tensor[:, :, None, None] if ".attentions." in name and tensor.ndim == 2 else tensor
