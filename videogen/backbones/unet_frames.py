"""Per-frame timesteps for diffusers' `UNetMotionModel`, which takes one per clip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def per_frame_timesteps(unet: Any, timesteps: torch.Tensor) -> Iterator[None]:
    """Within this context the UNet uses these timesteps [batch, frames], whatever timestep it is called with.

    Only its ResNet blocks use the time embedding, frame by frame. Not for models that embed more than the timestep
    (guidance, sizes).
    """
    from diffusers.models.resnet import ResnetBlock2D

    embedded: list[torch.Tensor] = []

    def replace_embedding(
        _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not embedded:  # not earlier: an offloaded UNet is on the device only within its own call
            embedded.append(unet.time_embedding(unet.time_proj(timesteps.flatten()).to(unet.dtype)))
        hidden, *_ = arguments or (named["input_tensor"],)
        return (hidden, embedded[0]), {}

    with ExitStack() as hooks:
        for module in unet.modules():
            if isinstance(module, ResnetBlock2D):
                hooks.callback(module.register_forward_pre_hook(replace_embedding, with_kwargs=True).remove)
        yield
