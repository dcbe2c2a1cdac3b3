"""Codecs of Wan's causal VAE: latents are standardised per channel, in a form that differs between its lineages."""

from __future__ import annotations

import torch

from ..streaming import StreamDecoder
from ..wan_streaming import WanStreamDecoder
from .codec import Codec
from .statistics import per_channel


class WanCodec(Codec):
    """Wan's own: divides by 1 / std, in the VAE's dtype."""

    @property
    def spatial(self) -> int:
        """From its layers: the setting of its configuration is what its pipelines state, and may not fit them."""
        return int(2 ** len(self.vae.temperal_downsample) * (self.vae.config.patch_size or 1))

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        latents = latents.to(self.device, self.vae.dtype)
        mean, inverse_std = self._statistics(latents)
        return latents / inverse_std + mean

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        mean, inverse_std = self._statistics(latents)
        return (latents - mean) * inverse_std

    def stream(self, length: int | None = None) -> StreamDecoder:
        return WanStreamDecoder(self.vae, self.denormalise)

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and 1 / std of the latents as [1, c, 1, 1, 1], the form in which diffusers applies them."""
        config = self.vae.config
        return per_channel(config.latents_mean, like), 1.0 / per_channel(config.latents_std, like)


class MotifCodec(WanCodec):
    """Motif: multiplies by std."""

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        latents = latents.to(self.device, self.vae.dtype)
        config = self.vae.config
        return latents * per_channel(config.latents_std, latents) + per_channel(config.latents_mean, latents)


class CosmosWanCodec(WanCodec):
    """Cosmos 2 and later: in the latents' dtype; the deviation of generation 2 is that of its scheduler's data."""

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        config, sigma = self.vae.config, self._data_sigma
        mean, inverse_std = self._statistics(latents)
        if sigma is None:
            return (latents / inverse_std + mean).to(self.vae.dtype)
        return (latents * per_channel(config.latents_std, latents) / sigma + mean).to(self.vae.dtype)

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        sigma = self._data_sigma
        return super().normalise(latents) * (1.0 if sigma is None else sigma)

    @property
    def _data_sigma(self) -> float | None:
        found = self.pipeline.scheduler.config.get("sigma_data")
        return None if found is None else float(found)
