"""Codecs of VAEs that decode frames as images: Stable Diffusion's, and that with a temporal decoder (SVD)."""

from __future__ import annotations

import torch

from ..streaming import FramewiseDecoder, StreamDecoder
from .codec import Codec


class FramewiseCodec(Codec):
    """Stable Diffusion's VAE, some frames per call: the last bits of a convolution depend on its batch size."""

    #: frames per call of the VAE, as in the lineage's pipelines; None: all frames of a batch
    group: int | None = 16

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        return 1 / self.vae.config.scaling_factor * latents

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.float() * self.vae.config.scaling_factor

    def stream(self, length: int | None = None) -> StreamDecoder:
        if self.group is None:
            return super().stream(length)
        return FramewiseDecoder(self.decode, self.group, self.spatial)

    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.transpose(1, 2)
        latents: torch.Tensor = self.vae.encode(images.flatten(0, 1)).latent_dist.mode()
        return latents.unflatten(0, images.shape[:2]).transpose(1, 2)

    def _decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        flat = latents.permute(0, 2, 1, 3, 4).flatten(0, 1)
        parts = [self._decode_images(part) for part in flat.split(self.group or len(flat))]
        return torch.cat(parts).unflatten(0, (latents.shape[0], -1)).transpose(1, 2).float()

    def _decode_images(self, latents: torch.Tensor) -> torch.Tensor:
        """[frames, 3, h, w] of [frames, c, h, w]."""
        images: torch.Tensor = self.vae.decode(latents, return_dict=False)[0]
        return images


class LatteCodec(FramewiseCodec):
    """Latte: 14 frames per call."""

    group = 14


class ClipCodec(FramewiseCodec):
    """ModelScope and I2VGen-XL: all frames of all clips in one call."""

    group = None


class TemporalDecoderCodec(ClipCodec):
    """Stable Video Diffusion: the decoder attends over the frames of its call, by default an entire clip."""

    def _decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.cat([super(TemporalDecoderCodec, self)._decode_latents(clip) for clip in latents.split(1)])

    def _decode_images(self, latents: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.vae.decode(latents, num_frames=len(latents), return_dict=False)[0]
        return images
