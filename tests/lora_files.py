"""Tiny LoRA files for the tests, in the layouts that trainers write: random matrices for the attention layers of a
pipeline's denoiser, under the names that each layout gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from videogen.core.denoisers import find_denoisers

LAYOUTS = ("diffusers", "kohya", "ComfyUI")
RANK, ALPHA = 2, 2.0
#: names in diffusers and in the repositories that ComfyUI's and kohya's files follow, one per layer of the tests
_REPOSITORY = {
    "WanTransformer3DModel": {
        "attn1.to_q": "self_attn.q", "attn1.to_k": "self_attn.k", "attn1.to_v": "self_attn.v",
        "attn1.to_out.0": "self_attn.o", "attn2.to_q": "cross_attn.q", "attn2.to_k": "cross_attn.k",
        "attn2.to_v": "cross_attn.v", "attn2.to_out.0": "cross_attn.o", "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2",
    },
    "LTXVideoTransformer3DModel": {},
    "UNetMotionModel": {},
}  # fmt: skip
_LAYERS = re.compile(r".*(attn\d\.to_(q|k|v|out\.0)|(ffn|ff)\.net\.(0\.proj|2))$")

Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]


def denoiser_of(pipeline: Any) -> nn.Module:
    """The first denoiser."""
    return next(iter(find_denoisers(pipeline).values()))


def draw_factors(model: nn.Module, *, seed: int = 1, rank: int = RANK, where: str = "") -> Factors:
    """Random (down [rank, n], up [m, rank]) of each attention and feed-forward layer. where: in the layer's name."""
    generator = torch.Generator().manual_seed(seed)
    found: Factors = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and _LAYERS.fullmatch(name) and where in name:
            down = torch.randn(rank, layer.in_features, generator=generator)
            up = 0.2 * torch.randn(layer.out_features, rank, generator=generator)
            found[name] = down, up
    return found or _of_first_layers(model, rank)


def _of_first_layers(model: nn.Module, rank: int) -> Factors:
    """For classes whose layers have other names: of a few linear layers."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)][-8:]
    return {
        name: (torch.randn(rank, layer.in_features), 0.1 * torch.randn(layer.out_features, rank))
        for name, layer in layers
    }


def write_lora(
    path: Path,
    model: nn.Module,
    layout: str = "diffusers",
    *,
    factors: Factors | None = None,
    alpha: float | None = None,
    seed: int = 1,
    more: Mapping[str, torch.Tensor] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A LoRA of a model's layers. alpha: as trainers write it; more: further tensors."""
    factors = draw_factors(model, seed=seed) if factors is None else factors
    name_of = _NAMES[layout]
    tensors: dict[str, torch.Tensor] = dict(more or {})
    for layer, (down, up) in factors.items():
        name, (down_key, up_key) = name_of(type(model).__name__, layer), _MATRICES[layout]
        tensors[f"{name}.{down_key}"], tensors[f"{name}.{up_key}"] = down.contiguous(), up.contiguous()
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path, metadata)
    return path


def _in_diffusers(class_name: str, layer: str) -> str:
    return f"{'unet' if class_name.startswith('UNet') else 'transformer'}.{layer}"


def _in_repository(class_name: str, layer: str) -> str:
    for theirs, name in _REPOSITORY[class_name].items():
        if layer.endswith(theirs):
            return layer.removesuffix(theirs) + name
    return layer


_NAMES: dict[str, Callable[[str, str], str]] = {
    "diffusers": _in_diffusers,
    "kohya": lambda class_name, layer: "lora_unet_" + _in_repository(class_name, layer).replace(".", "_"),
    "ComfyUI": lambda class_name, layer: "diffusion_model." + _in_repository(class_name, layer),
}
_MATRICES = {
    "diffusers": ("lora_A.weight", "lora_B.weight"),
    "kohya": ("lora_down.weight", "lora_up.weight"),
    "ComfyUI": ("lora_down.weight", "lora_up.weight"),
}
