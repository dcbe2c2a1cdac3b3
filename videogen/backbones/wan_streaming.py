"""Streaming decode of Wan's causal VAE, with the caches of its convolutions outside the module.

`AutoencoderKLWan._decode` passes latent frames through the decoder one at a time; each causal convolution reads the
last two frames of its input from a list that the module owns and clears at every call. Here the stream decoder owns the
list. With tiling, as set when the stream begins, there is one list per tile, and the tiles of each frame are blended
separately, with the same result as the VAE's blending of all frames. Memory does not depend on length: 1.9 GB in bf16
for Wan 2.1 at 480x832. The VAE applies one 1x1 convolution to all frames together; it gives the same bits for a single
frame (measured on CPUs, fp32 and bf16, for frames of 16 latents or more).

Legend: [1, c, 1, h, w], one frame at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import nn

from .base import to_unit_range
from .streaming import StreamDecoder

_Tiling = tuple[tuple[int, int], tuple[int, int]]  # (height, width) of a tile and of the step to the next, px


class WanStreamDecoder(StreamDecoder):
    """Stream decoder of an `AutoencoderKLWan`. prepare: converts latents to the VAE's scale, device and dtype."""

    def __init__(self, vae: Any, prepare: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._vae, self._prepare = vae, prepare
        self._tiling = _tiling(vae)
        self._tiles: _Tiles | None = None
        self._device = torch.device("cpu")
        self._caches: list[list[Any]] = []

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        if self._tiles is None:
            self._begin(latents.shape[3], latents.shape[4])
        hook = getattr(self._vae, "_hf_hook", None)
        if hook is not None and hasattr(hook, "pre_forward"):
            hook.pre_forward(self._vae)  # accelerate's, which moves an offloaded VAE to the device
        pixels = torch.cat([self._frame(frame) for frame in self._prepare(latents).split(1, 2)], 1)
        self._device = pixels.device
        return pixels

    def _begin(self, height: int, width: int) -> None:
        self._tiles = _Tiles.from_vae(self._vae, height, width, self._tiling)
        count = sum(isinstance(module, nn.Conv3d) for module in self._vae.decoder.modules())
        self._caches = [[None] * count for _ in range(len(self._tiles.rows) * len(self._tiles.columns))]

    def _frame(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels of one latent frame: one frame for the first, else as many as the temporal ratio."""
        assert self._tiles is not None
        caches = iter(self._caches)
        parts = [[self._part(latents[..., y, x], next(caches)) for x in self._tiles.columns] for y in self._tiles.rows]
        image = self._tiles.join(self._vae, parts)
        side = self._vae.config.patch_size or 1
        image = rearrange(image, "b (c q r) f h w -> b c f (h r) (w q)", q=side, r=side)
        return to_unit_range(torch.clamp(image, min=-1.0, max=1.0))

    def _part(self, latents: torch.Tensor, cache: list[Any]) -> torch.Tensor:
        first = cache[0] is None
        return self._vae.decoder(self._vae.post_quant_conv(latents), feat_cache=cache, feat_idx=[0], first_chunk=first)

    def _rest(self) -> torch.Tensor:
        assert self._shape is not None
        ratio = self._vae.spatial_compression_ratio
        return torch.empty((1, 0, *(ratio * side for side in self._shape[1:]), 3), device=self._device)


@dataclass(frozen=True)
class _Tiles:
    """Tile layout of `AutoencoderKLWan.tiled_decode`.

    rows, columns: slices of the latents. In px before `unpatchify`, (y, x): how much of a decoded tile is retained, how
    much is blended with its neighbour, and the size of the image.
    """

    rows: tuple[slice, ...]
    columns: tuple[slice, ...]
    retained: tuple[int, int] = (0, 0)
    blended: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)

    @classmethod
    def from_vae(cls, vae: Any, height: int, width: int, tiling: _Tiling | None) -> _Tiles:
        ratio, patch = vae.spatial_compression_ratio, vae.config.patch_size or 1
        if tiling is None or (height <= tiling[0][0] // ratio and width <= tiling[0][1] // ratio):
            return cls((slice(None),), (slice(None),))
        size, stride = tiling
        rows, columns = (
            tuple(slice(at, at + tile // ratio) for at in range(0, side, step // ratio))
            for side, tile, step in zip((height, width), size, stride, strict=True)
        )
        retained = (stride[0] // patch, stride[1] // patch)
        blended = (size[0] // patch - retained[0], size[1] // patch - retained[1])
        return cls(rows, columns, retained, blended, (height * ratio // patch, width * ratio // patch))

    def join(self, vae: Any, parts: list[list[torch.Tensor]]) -> torch.Tensor:
        """The image of decoded tiles, each blended with those above and to the left."""
        if len(self.rows) == len(self.columns) == 1:
            return parts[0][0]
        lines = []
        for i, row in enumerate(parts):
            for j, tile in enumerate(row):  # the VAE's blending writes into `tile`
                if i:
                    vae.blend_v(parts[i - 1][j], tile, self.blended[0])
                if j:
                    vae.blend_h(row[j - 1], tile, self.blended[1])
            lines.append(torch.cat([tile[..., : self.retained[0], : self.retained[1]] for tile in row], -1))
        return torch.cat(lines, 3)[..., : self.size[0], : self.size[1]]


def _tiling(vae: Any) -> _Tiling | None:
    """The VAE's present tile size and stride in px; None where tiling is off."""
    if not vae.use_tiling:
        return None
    size = (vae.tile_sample_min_height, vae.tile_sample_min_width)
    return size, (vae.tile_sample_stride_height, vae.tile_sample_stride_width)
