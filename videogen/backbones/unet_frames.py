"""A timestep for each frame, for diffusers' `UNetMotionModel`, which takes one a clip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def told_each_frame(unet: Any, timesteps: torch.Tensor) -> Iterator[None]:
    """Within it, what the UNet does to each frame is told that frame's own timestep, [batch, frames], whatever timestep
    it is called with.

    Only its ResNet blocks hear of time, frame by frame. Not for models that embed more than the timestep (guidance,
    sizes).
    """
    from diffusers.models.resnet import ResnetBlock2D

    told: list[torch.Tensor] = []

    def tell(
        _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not told:  # only now, within the UNet's own call: before it an offloaded one is elsewhere
            told.append(unet.time_embedding(unet.time_proj(timesteps.flatten()).to(unet.dtype)))
        hidden, *_ = arguments or (named["input_tensor"],)
        return (hidden, told[0]), {}

    with ExitStack() as hooks:
        for module in unet.modules():
            if isinstance(module, ResnetBlock2D):
                hooks.callback(module.register_forward_pre_hook(tell, with_kwargs=True).remove)
        yield
