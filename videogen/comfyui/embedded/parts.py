"""The embedded DiT's VAE and text encoder, in the forms in which ComfyUI's nodes call theirs.

ComfyUI's Wan hands latents over in the scale of Wan's VAE; the embedded VAE has statistics of its own, so that latents
are converted on both sides.
"""

from __future__ import annotations

from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError

_FRAME_AXES, _CLIP_AXES = 4, 5


class EmbeddedVae:
    """What VAEDecode, VAEEncode and their tiled forms call. latent_format: of the native model, with `process_in` and
    `process_out`."""

    latent_dim = 3
    disable_offload = True
    first_stage_model = None

    def __init__(self, backbone: Backbone, latent_format: Any) -> None:
        self._backbone, self._format = backbone, latent_format
        geometry = backbone.geometry
        self.latent_channels = geometry.channels
        self._temporal, self._spatial = geometry.temporal, geometry.spatial
        #: length and side of a clip from those of its latents, and back
        self.upscale_ratio = (lambda n: max(0, n * self._temporal - self._temporal + 1), self._spatial, self._spatial)
        self.downscale_ratio = (
            lambda n: max(0, (n + self._temporal - 1) // self._temporal),
            self._spatial,
            self._spatial,
        )
        self.output_channels = 3

    def decode(self, samples: torch.Tensor, **_: Any) -> torch.Tensor:
        """Images [batch, frame, height, width, 3] in 0..1 of latents [batch, channel, frame, height, width] on any
        device; they are on the model's."""
        with torch.inference_mode():
            return self._backbone.decode(self._format.process_in(samples.to(self._backbone.device).float()))

    def decode_tiled(self, samples: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """As `decode`: clips of this size need no tiles."""
        return self.decode(samples)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Latents of images [frame, height, width, channel] or [batch, frame, height, width, channel] in 0..1."""
        if pixels.ndim not in (_FRAME_AXES, _CLIP_AXES):
            raise InputError(f"images {list(pixels.shape)} must be [frame, height, width, 3], with or without a batch")
        clip = (pixels if pixels.ndim == _CLIP_AXES else pixels.unsqueeze(0))[..., :3]
        height, width = (size // self._spatial * self._spatial for size in clip.shape[2:4])
        frames = (clip[:, :, :height, :width] * 255).round().clamp(0, 255).to(torch.uint8)
        with torch.inference_mode():
            latents: torch.Tensor = self._format.process_out(self._backbone.encode(frames.to(self._backbone.device)))
        return latents

    def encode_tiled(self, pixels: torch.Tensor, **_: Any) -> torch.Tensor:
        """As `encode`."""
        return self.encode(pixels)

    def spacial_compression_decode(self) -> int:
        return self._spatial

    def spacial_compression_encode(self) -> int:
        return self._spatial

    def temporal_compression_decode(self) -> int:
        return self._temporal

    def throw_exception_if_invalid(self) -> None:
        """It was loaded."""


class EmbeddedTextEncoder:
    """What CLIPTextEncode calls. The embedded model reads texts without weights in brackets."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def clone(self) -> EmbeddedTextEncoder:
        return self

    def tokenize(self, text: str, **_: Any) -> dict[str, str]:
        return {"text": text}

    def encode_from_tokens(self, tokens: dict[str, str], return_pooled: bool = False, return_dict: bool = False) -> Any:
        """Embeddings [1, token, width]; there is no pooled output."""
        with torch.inference_mode():
            embeddings = self._backbone.encode_prompt([tokens["text"]], None).positive
        if return_dict:
            return {"cond": embeddings, "pooled_output": None}
        return (embeddings, None) if return_pooled else embeddings

    def encode_from_tokens_scheduled(
        self, tokens: dict[str, str], *_: Any, add_dict: dict[str, Any] | None = None, **__: Any
    ) -> list[list[Any]]:
        """ComfyUI's CONDITIONING."""
        return [[self.encode_from_tokens(tokens), {"pooled_output": None, **(add_dict or {})}]]
