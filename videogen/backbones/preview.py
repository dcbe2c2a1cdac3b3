"""Latent preview: a linear map from latent channels to RGB, fitted once per loaded model.

The map is a least-squares fit over a few test images encoded by the model's VAE. It costs one small encode, and one
matrix product per preview.
"""

from __future__ import annotations

import numpy as np
import torch

from .base import Backbone

_IMAGES = 6


class LatentPreview:
    """`preview(latents) -> uint8 [frame, height, width, 3]` at latent resolution."""

    def __init__(self, backbone: Backbone) -> None:
        self._weights = _fit(backbone)

    def __call__(self, latents: torch.Tensor) -> np.ndarray:
        flat = latents[0].permute(1, 2, 3, 0).float().cpu()
        colours = torch.cat([flat, torch.ones_like(flat[..., :1])], -1) @ self._weights
        return (colours.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _fit(backbone: Backbone) -> torch.Tensor:
    """Weights [channels + 1, 3], the last row being the offset."""
    geometry = backbone.geometry
    side = max(64, geometry.multiple * 4)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((_IMAGES, 3, 4, 4), generator=generator)
    images = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    images[: _IMAGES // 2] = coarse[: _IMAGES // 2, :, :1, :1]
    frames = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)[:, None]
    with torch.no_grad():
        latents = backbone.encode(frames)[:, :, 0].float().cpu()
    target = torch.nn.functional.adaptive_avg_pool2d(images, (latents.shape[-2], latents.shape[-1]))
    inputs = latents.permute(0, 2, 3, 1).flatten(0, 2)
    inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)
    return torch.linalg.lstsq(inputs, target.permute(0, 2, 3, 1).flatten(0, 2)).solution
