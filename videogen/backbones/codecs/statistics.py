"""Statistics of a VAE's latents per channel, as tensors that broadcast over [b, c, f, h, w]."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def per_channel(values: Sequence[float] | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """[1, c, 1, 1, 1] in the device and dtype of `like`."""
    return torch.as_tensor(values).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
