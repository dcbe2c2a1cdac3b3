"""Decoding in overlapping temporal tiles, as latents arrive: HunyuanVideo's VAE by default, LTX's where it is set so.

The VAE decodes tiles of some latent frames, one more than a tile's length, and cross-fades each tile with the one
before. A tile is decoded as soon as its last latent frame has arrived; the memory is that of two tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..base import to_unit_range
from ..streaming import StreamDecoder
from .scaled import ScaledCodec

#: latents of one tile in the VAE's scale to pixels [1, 3, f, h, w]
DecodeTile = Callable[[torch.Tensor], torch.Tensor]


class TemporalTileDecoder(StreamDecoder):
    """vae: with `use_framewise_decoding`, set as it is when the stream begins. prepare: latents to the VAE's scale.
    decode_tile: of one tile, spatial tiles included; drop_first: whether a tile that continues has a frame too many at
    its beginning rather than at its end."""

    def __init__(
        self, vae: Any, prepare: Callable[[torch.Tensor], torch.Tensor], decode_tile: DecodeTile, *, drop_first: bool
    ) -> None:
        super().__init__()
        self._vae, self._prepare, self._decode_tile, self._drop_first = vae, prepare, decode_tile, drop_first
        ratio = vae.temporal_compression_ratio
        self._size = vae.tile_sample_min_num_frames // ratio
        self._step, self._frames = vae.tile_sample_stride_num_frames // ratio, vae.tile_sample_stride_num_frames
        self._blended = vae.tile_sample_min_num_frames - vae.tile_sample_stride_num_frames
        self._ratio = ratio
        self._waiting: torch.Tensor | None = None  # latents from the next tile's first on
        self._previous: torch.Tensor | None = None  # the last tile's pixels, blended
        self._decoded = 0  # frames

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        self._waiting = latents if self._waiting is None else torch.cat([self._waiting, latents], 2)
        parts = [self._nothing()]
        while self._waiting.shape[2] > self._size:
            parts.append(self._next_tile())
        return torch.cat(parts, 1)

    def _rest(self) -> torch.Tensor:
        assert self._waiting is not None
        if self._previous is None:  # too short for tiles
            return to_unit_range(self._vae.decode(self._prepare(self._waiting), return_dict=False)[0])
        parts = [self._nothing()]
        while self._waiting.shape[2]:
            parts.append(self._next_tile())
        total = (self.taken - 1) * self._ratio + 1
        return torch.cat(parts, 1)[:, : total - self.given]

    def _next_tile(self) -> torch.Tensor:
        assert self._waiting is not None
        tile = self._decode_tile(self._prepare(self._waiting[:, :, : self._size + 1]))
        self._waiting = self._waiting[:, :, self._step :].clone()
        before, count = self._previous, self._frames + 1
        if before is not None:
            tile = tile[:, :, 1:] if self._drop_first else tile[:, :, :-1]
            tile, count = self._vae.blend_t(before, tile, self._blended), self._frames
        self._previous = tile
        return to_unit_range(tile[:, :, :count])

    def _nothing(self) -> torch.Tensor:
        assert self._waiting is not None
        ratio = self._vae.spatial_compression_ratio
        sides = (ratio * side for side in self._waiting.shape[3:])
        return torch.empty((1, 0, *sides, 3), device=self._waiting.device)


class HunyuanVideoCodec(ScaledCodec):
    """HunyuanVideo's VAE."""

    def stream(self, length: int | None = None) -> StreamDecoder:
        if not self.vae.use_framewise_decoding:
            return super().stream(length)
        return TemporalTileDecoder(self.vae, self.denormalise, self._decode_tile, drop_first=True)

    def _decode_tile(self, latents: torch.Tensor) -> torch.Tensor:
        """A temporal tile, in spatial ones where the VAE tiles and it is larger."""
        vae, ratio = self.vae, self.vae.spatial_compression_ratio
        height, width = vae.tile_sample_min_height // ratio, vae.tile_sample_min_width // ratio
        if vae.use_tiling and (latents.shape[-2] > height or latents.shape[-1] > width):
            pixels: torch.Tensor = vae.tiled_decode(latents, return_dict=False)[0]
            return pixels
        return vae.decoder(vae.post_quant_conv(latents))  # type: ignore[no-any-return]
