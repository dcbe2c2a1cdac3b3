"""What a DiT's middle knows of the motion in its noise: a linear reading, trained with it and not kept."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import nn

SPREAD = (0.31, 0.8, 0.8)  # of `latent_motion` over the world's clips: things' share, and px a latent frame


class MotionProbe(nn.Module):
    """Reads `latent_motion` [b, 3, f, h, w] off the hidden states of a model's middle block, as its last call left
    them."""

    def __init__(self, model: WanTransformer3DModel) -> None:
        super().__init__()
        config = model.config
        self._patch: int = config["patch_size"][1]
        width = config["num_attention_heads"] * config["attention_head_dim"]
        last = nn.Linear(width, 3 * self._patch**2)
        nn.init.zeros_(last.weight)
        self.reading = nn.Sequential(nn.LayerNorm(width), last)
        self._hidden: list[torch.Tensor] = []
        model.blocks[len(model.blocks) // 2].register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: Any, hidden: torch.Tensor) -> None:
        self._hidden[:] = [hidden]

    def unread(self, motion: torch.Tensor) -> torch.Tensor:
        """The share of the motion's spread that the last call's clips leave unread; 1 or more where nothing is
        known."""
        b, c, f, h, w = motion.shape
        p = self._patch
        read = self.reading(self._hidden.pop().float()).view(b, f, h // p, w // p, p, p, c)
        read = read.permute(0, 6, 1, 2, 4, 3, 5).reshape(motion.shape)
        spread = motion.new_tensor(SPREAD).view(1, 3, 1, 1, 1)
        return ((read - motion) / spread).square().mean()
