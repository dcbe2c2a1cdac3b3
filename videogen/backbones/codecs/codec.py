"""Codec: between frames, latents as the denoiser knows them, and latents as a class of VAE knows them.

Tensors at this border: latents [batch, channel, frame, height, width]; frames uint8 [batch, frame, height, width, 3];
pixels fp32 in 0..1 [batch, frame, height, width, 3].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from videogen.core.errors import UnsupportedError
from videogen.core.lazy import load_object

from ..base import to_signed_range, to_unit_range
from ..streaming import StreamDecoder
from .buffered import BufferedDecoder
from .table import CODECS, WITHOUT_CODEC, CodecRow


class Codec(ABC):
    """Of one pipeline's VAE. pipeline: whose `vae`, scheduler and device are used as they are at each call."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    @property
    def vae(self) -> Any:
        return self.pipeline.vae

    @property
    def device(self) -> torch.device:
        return torch.device(self.pipeline._execution_device)

    @property
    def spatial(self) -> int:
        """Side of a latent in px."""
        found = self.vae.config.get("spatial_compression_ratio") or getattr(self.vae, "spatial_compression_ratio", None)
        return int(found or 2 ** (len(self.vae.config.block_out_channels) - 1))

    @abstractmethod
    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        """The denoiser's latents in the VAE's scale and dtype."""

    @abstractmethod
    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        """The VAE's latents in the denoiser's scale."""

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Latents fp32, the posterior's mode."""
        pixels = to_signed_range(frames.to(self.device), self.vae.dtype)
        return self.normalise(self._encode_pixels(pixels)).float()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels, as the pipeline's own decoding gives them."""
        return to_unit_range(self._decode_latents(self.denormalise(latents.to(self.device))))

    def stream(self, length: int | None = None) -> StreamDecoder:
        """A decoder of one clip's latents as they are generated. length: how many latent frames there will be, where it
        is known, without which some VAEs cannot begin."""
        return BufferedDecoder(self.decode, self.spatial)

    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Latents in the VAE's scale of pixels [b, 3, f, h, w] in -1..1."""
        latents: torch.Tensor = self.vae.encode(pixels).latent_dist.mode()
        return latents

    def _decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels [b, 3, f, h, w] in -1..1 of latents in the VAE's scale."""
        pixels: torch.Tensor = self.vae.decode(latents, return_dict=False)[0]
        return pixels


def build_codec(pipeline: Any, lineage: str = "") -> Codec:
    """The codec of a pipeline's VAE. UnsupportedError, with the reason, where there is none."""
    vae = getattr(pipeline, "vae", None)
    row = find_codec_row(vae)
    if row is None:
        names = _names_of(vae)
        reason = next((WITHOUT_CODEC[name] for name in names if name in WITHOUT_CODEC), "it has no codec yet")
        raise UnsupportedError(f"{names[0]} cannot be used outside its pipeline's call: {reason}")
    codec: Codec = load_object(row.forms.get(lineage, row.home), __package__)(pipeline)
    return codec


def find_codec_row(vae: Any) -> CodecRow | None:
    """The row of a VAE's class; None where it has none."""
    return next((CODECS[name] for name in _names_of(vae) if name in CODECS), None)


def enable_needed_tiling(vae: Any) -> None:
    """Let a VAE decode and encode in tiles whose class can do nothing else, clips of a batch one after another."""
    row = find_codec_row(vae)
    if row is not None and row.tiles_only:
        vae.enable_tiling()
        vae.enable_slicing()


def _names_of(vae: Any) -> list[str]:
    return [kind.__name__ for kind in type(vae).__mro__]
