"""Acceleration of a loaded pipeline that keeps its weights: what `compile` needs of a machine, and the VAE's memory
layout."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import nn

from videogen.core.errors import UnsupportedError

from .load_options import CUDA_GRAPHS

_LAYOUTS: dict[type[nn.Module], torch.memory_format] = {
    nn.Conv2d: torch.channels_last, nn.Conv3d: torch.channels_last_3d,
}  # fmt: skip
_COMPILERS = ("g++", "clang++", "c++", "cl")


def check_compile(mode: bool | str, target: str) -> None:
    """UnsupportedError where this machine cannot compile, or not in this mode. target: the device."""
    kind = target.partition(":")[0]
    if mode == CUDA_GRAPHS and kind != "cuda":
        raise UnsupportedError(f"compile={mode!r} needs CUDA, and the device is {target!r}; use compile=True")
    if mode and kind == "cpu" and not any(shutil.which(name) for name in _COMPILERS):
        raise UnsupportedError(
            f"compile={mode!r} on a CPU needs a C++ compiler, and none of {', '.join(_COMPILERS)} was found; install "
            "one, or leave it out"
        )


def set_channels_last(pipeline: Any) -> None:
    """Lay out the filters of the VAE's convolutions with channels last, which their activations follow."""
    vae = pipeline.components.get("vae")
    if not isinstance(vae, nn.Module):
        raise UnsupportedError(f"channels_last=True: {type(pipeline).__name__} has no VAE; leave it out")
    for module in vae.modules():
        layout = next((layout for kind, layout in _LAYOUTS.items() if isinstance(module, kind)), None)
        if layout is not None:
            weight: Any = module.weight
            weight.data = weight.data.contiguous(memory_format=layout)
