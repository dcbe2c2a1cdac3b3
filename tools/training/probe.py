"""Linear probe for the motion in a DiT's noise: reads its middle block, is trained with it and not saved."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import nn

#: Standard deviations of `latent_motion` over the world's clips: object coverage, and px per latent frame.
SPREAD = (0.31, 0.8, 0.8)


class MotionProbe(nn.Module):
    """Predicts `latent_motion` [b, 3, f, h, w] from the hidden states of a model's middle block at its last call."""

    def __init__(self, model: WanTransformer3DModel) -> None:
        super().__init__()
        config = model.config
        self._patch: int = config["patch_size"][1]
        width = config["num_attention_heads"] * config["attention_head_dim"]
        last = nn.Linear(width, 3 * self._patch**2)
        nn.init.zeros_(last.weight)
        self.reading = nn.Sequential(nn.LayerNorm(width), last)
        self._hidden: list[torch.Tensor] = []
        model.blocks[len(model.blocks) // 2].register_forward_hook(self._store)

    def _store(self, _module: nn.Module, _inputs: Any, hidden: torch.Tensor) -> None:
        self._hidden[:] = [hidden]

    def unexplained(self, motion: torch.Tensor) -> torch.Tensor:
        """Fraction of the motion's variance that the probe leaves unexplained on the last call's clips; 1 or more if it
        has learned nothing."""
        b, c, f, h, w = motion.shape
        p = self._patch
        predicted = self.reading(self._hidden.pop().float()).view(b, f, h // p, w // p, p, p, c)
        predicted = predicted.permute(0, 6, 1, 2, 4, 3, 5).reshape(motion.shape)
        spread = motion.new_tensor(SPREAD).view(1, 3, 1, 1, 1)
        return ((predicted - motion) / spread).square().mean()
