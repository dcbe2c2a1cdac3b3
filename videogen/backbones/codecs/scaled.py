"""Codecs of VAEs whose latents have one scale: HunyuanVideo 1.5, Allegro, Magvit."""

from __future__ import annotations

import torch

from .codec import Codec


class ScaledCodec(Codec):
    """Divides by the VAE's `scaling_factor`, in its dtype."""

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.to(self.vae.dtype) / self.vae.config.scaling_factor

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return latents * self.vae.config.scaling_factor

    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Clip by clip: the mask of HunyuanVideo 1.5's attention is that of one."""
        return torch.cat([Codec._encode_pixels(self, clip) for clip in pixels.split(1)])


class InverseScaledCodec(ScaledCodec):
    """Multiplies by 1 / `scaling_factor`, which may differ in the last bit."""

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        return 1 / self.vae.config.scaling_factor * latents.to(self.vae.dtype)


class AllegroCodec(InverseScaledCodec):
    """Allegro: its VAE works in tiles alone, and gives frames before channels."""

    def _decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        return super()._decode_latents(latents).transpose(1, 2)
