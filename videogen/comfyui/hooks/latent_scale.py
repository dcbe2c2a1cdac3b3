"""Compression of a native model's VAE, from its latent format."""

from __future__ import annotations

from typing import Any


def latent_scale(model: Any) -> tuple[int, int]:
    """(px, frames) per latent of a MODEL."""
    latents = model.model.latent_format
    return int(latents.spacial_downscale_ratio), int(latents.temporal_downscale_ratio)
