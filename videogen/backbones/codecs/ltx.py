"""Codecs of the VAEs of LTX-Video and LTX-2.

A VAE with `timestep_conditioning` mixes noise into the latents that it decodes and needs a timestep: only its pipeline
knows both.
"""

from __future__ import annotations

import torch

from videogen.core.errors import UnsupportedError

from ..streaming import StreamDecoder
from .codec import Codec
from .ltx_streaming import LTXStreamDecoder, streams_frames
from .statistics import per_channel
from .temporal_tiles import TemporalTileDecoder


class LTX2VideoCodec(Codec):
    """LTX-2: the entire clip, or temporal tiles where the VAE is set so."""

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        if self.vae.config.timestep_conditioning:
            raise UnsupportedError(
                f"{type(self.vae).__name__} is conditioned on a timestep and draws noise when it decodes: its latents "
                "are decoded by their clip alone"
            )
        std, mean = per_channel(self.vae.latents_std, latents), per_channel(self.vae.latents_mean, latents)
        return (latents * std / self.vae.config.scaling_factor + mean).to(self.vae.dtype)

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        std, mean = per_channel(self.vae.latents_std, latents), per_channel(self.vae.latents_mean, latents)
        return (latents - mean) * self.vae.config.scaling_factor / std

    def stream(self, length: int | None = None) -> StreamDecoder:
        if self.vae.use_framewise_decoding:
            return TemporalTileDecoder(self.vae, self.denormalise, self._decode_tile, drop_first=False)
        return super().stream(length)

    def _decode_tile(self, latents: torch.Tensor) -> torch.Tensor:
        """A temporal tile, in spatial ones where the VAE tiles and it is larger."""
        vae, ratio = self.vae, self.vae.spatial_compression_ratio
        height, width = vae.tile_sample_min_height // ratio, vae.tile_sample_min_width // ratio
        if vae.use_tiling and (latents.shape[-2] > height or latents.shape[-1] > width):
            pixels: torch.Tensor = vae.tiled_decode(latents, None, return_dict=False)[0]
            return pixels
        return vae.decoder(latents, None)  # type: ignore[no-any-return]


class LTXVideoCodec(LTX2VideoCodec):
    """LTX-Video: latent frame by latent frame."""

    def stream(self, length: int | None = None) -> StreamDecoder:
        if streams_frames(self.vae):
            return LTXStreamDecoder(self.vae, self.denormalise)
        return super().stream(length)
