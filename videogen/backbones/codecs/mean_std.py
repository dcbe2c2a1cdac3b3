"""Codecs of VAEs whose latents are standardised per channel: Mochi and Cosmos 1."""

from __future__ import annotations

import torch

from .codec import Codec
from .statistics import per_channel


class MochiCodec(Codec):
    """Mochi: mean and std where the VAE states them."""

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        config = self.vae.config
        if config.get("latents_mean") is None or config.get("latents_std") is None:
            return latents / config.scaling_factor
        std, mean = per_channel(config.latents_std, latents), per_channel(config.latents_mean, latents)
        return latents * std / config.scaling_factor + mean

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        config = self.vae.config
        if config.get("latents_mean") is None or config.get("latents_std") is None:
            return latents * config.scaling_factor
        std, mean = per_channel(config.latents_std, latents), per_channel(config.latents_mean, latents)
        return (latents - mean) * config.scaling_factor / std


class CosmosCodec(Codec):
    """Cosmos 1: a mean and a std for each channel of each latent frame, times the deviation of the scheduler's data."""

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        statistics, sigma = self._statistics(latents), self.pipeline.scheduler.config.sigma_data
        if statistics is None:
            return (latents / sigma).to(self.vae.dtype)
        return (latents * statistics[1] / sigma + statistics[0]).to(self.vae.dtype)

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        statistics, sigma = self._statistics(latents), self.pipeline.scheduler.config.sigma_data
        if statistics is None:
            return latents * sigma
        return (latents - statistics[0]) * sigma / statistics[1]

    def _statistics(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Mean and std [1, c, f, 1, 1]; None where the VAE has none."""
        config = self.vae.config
        if config.latents_mean is None:
            return None
        mean, std = (
            torch.tensor(values).view(1, config.latent_channels, -1, 1, 1)[:, :, : latents.shape[2]].to(latents)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, std
