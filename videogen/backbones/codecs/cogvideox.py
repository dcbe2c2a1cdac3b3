"""Codec of CogVideoX's VAE, which decodes latent frames in pairs, the first three of an odd number together.

Its convolutions take over the last frames of the pair before, from caches that it returns. Which latent frames form a
group depends on whether their number is odd: a stream of a length that is not known holds all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..base import to_unit_range
from ..streaming import StreamDecoder
from .scaled import InverseScaledCodec


class CogVideoXCodec(InverseScaledCodec):
    def stream(self, length: int | None = None) -> StreamDecoder:
        return super().stream() if length is None else CogVideoXStreamDecoder(self.vae, self.denormalise, length)


class CogVideoXStreamDecoder(StreamDecoder):
    """Stream decoder of an `AutoencoderKLCogVideoX`. prepare: latents to the VAE's scale, device and dtype; length: how
    many latent frames there will be. Tiles are decoded as set when the stream begins."""

    def __init__(self, vae: Any, prepare: Callable[[torch.Tensor], torch.Tensor], length: int) -> None:
        super().__init__()
        self._vae, self._prepare = vae, prepare
        self._group = vae.num_latent_frames_batch_size
        self._next = min(length, self._group + length % self._group)
        self._tiling = bool(vae.use_tiling)
        self._waiting: torch.Tensor | None = None
        self._caches: list[Any] = []

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        hook = getattr(self._vae, "_hf_hook", None)
        if hook is not None and hasattr(hook, "pre_forward"):
            hook.pre_forward(self._vae)  # accelerate's, which moves an offloaded VAE to the device
        self._waiting = latents if self._waiting is None else torch.cat([self._waiting, latents], 2)
        parts = [self._nothing()]
        while self._waiting.shape[2] >= self._next:
            group, self._waiting = self._waiting.tensor_split([self._next], 2)
            self._next = self._group
            parts.append(to_unit_range(self._decode_group(self._prepare(group))))
        return torch.cat(parts, 1)

    def _rest(self) -> torch.Tensor:
        """Nothing, unless fewer latent frames came than were announced: then the last ones are a group, and those
        before stay as they are in the clip of that length."""
        assert self._waiting is not None
        if not self._waiting.shape[2]:
            return self._nothing()
        return to_unit_range(self._decode_group(self._prepare(self._waiting)))

    def _decode_group(self, latents: torch.Tensor) -> torch.Tensor:
        vae, (height, width) = self._vae, latents.shape[3:]
        if not (self._tiling and (width > vae.tile_latent_min_width or height > vae.tile_latent_min_height)):
            return self._decode_tile(latents, 0)
        down = int(vae.tile_latent_min_height * (1 - vae.tile_overlap_factor_height))
        across = int(vae.tile_latent_min_width * (1 - vae.tile_overlap_factor_width))
        rows = [
            [
                latents[..., y : y + vae.tile_latent_min_height, x : x + vae.tile_latent_min_width]
                for x in range(0, width, across)
            ]
            for y in range(0, height, down)
        ]
        count = len(rows[0])
        return self._join([[self._decode_tile(t, i * count + j) for j, t in enumerate(r)] for i, r in enumerate(rows)])

    def _decode_tile(self, latents: torch.Tensor, number: int) -> torch.Tensor:
        vae = self._vae
        self._caches = self._caches + [None] * (number + 1 - len(self._caches))
        if vae.post_quant_conv is not None:
            latents = vae.post_quant_conv(latents)
        pixels, self._caches[number] = vae.decoder(latents, conv_cache=self._caches[number])
        return pixels  # type: ignore[no-any-return]

    def _join(self, rows: list[list[torch.Tensor]]) -> torch.Tensor:
        """Tiles of a group, each blended with those above and to the left, as in `tiled_decode`."""
        vae = self._vae
        down = int(vae.tile_sample_min_height * vae.tile_overlap_factor_height)
        across = int(vae.tile_sample_min_width * vae.tile_overlap_factor_width)
        lines = []
        for i, row in enumerate(rows):
            for j, tile in enumerate(row):  # the VAE's blending writes into `tile`
                if i:
                    vae.blend_v(rows[i - 1][j], tile, down)
                if j:
                    vae.blend_h(row[j - 1], tile, across)
            height, width = vae.tile_sample_min_height - down, vae.tile_sample_min_width - across
            lines.append(torch.cat([tile[..., :height, :width] for tile in row], 4))
        return torch.cat(lines, 3)

    def _nothing(self) -> torch.Tensor:
        assert self._waiting is not None
        ratio = 2 ** (len(self._vae.config.block_out_channels) - 1)
        sides = (ratio * side for side in self._waiting.shape[3:])
        return torch.empty((1, 0, *sides, 3), device=self._waiting.device)
