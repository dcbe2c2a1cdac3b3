"""Streaming decode of Wan's causal VAE: its convolutions' caches in an object of ours, never on the module.

`AutoencoderKLWan._decode` sends latent frames through the decoder one at a time, each causal convolution finding the
last two frames of its input in a list that the module owns and clears at every call. Here the list is the stream
decoder's. A decode in tiles, as the VAE's settings are when the stream begins, has a list a tile and blends each frame
by itself, just as the VAE does for all frames together. Constant in length: 1.9 GB in bf16 for Wan 2.1 at 480x832. What
the VAE does to all frames at once is one 1x1 convolution, which gives a frame the same bits alone (measured on CPUs,
fp32 and bf16, for frames of 16 latents or more).

Legend: [1, c, 1, h, w], a frame at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from einops import rearrange
from torch import nn

from videogen.core.errors import ResumeError

from .base import to_unit_range
from .streaming import StreamDecoder

_SKIPPED = "Rep"  # diffusers' mark in the cache of a temporal upsampler that saw the first frame alone

_Tiling = tuple[tuple[int, int], tuple[int, int]]  # (height, width) of a tile and of the step to the next, px


class WanStreamDecoder(StreamDecoder):
    """Over an `AutoencoderKLWan`. prepare: takes the engine's latents to the VAE's own scale, device and dtype."""

    def __init__(self, vae: Any, prepare: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._vae, self._prepare = vae, prepare
        self._tiling = _tiling(vae)
        self._tiles: _Tiles | None = None
        self._device = torch.device("cpu")
        self._caches: list[list[Any]] = []

    @property
    def context(self) -> int:
        return _reach(self._vae.decoder)

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        if self._tiles is None:
            self._begin(latents.shape[3], latents.shape[4])
        hook = getattr(self._vae, "_hf_hook", None)
        if hook is not None and hasattr(
            hook, "pre_forward"
        ):  # accelerate's: `decode` brings an offloaded VAE to the device
            hook.pre_forward(self._vae)
        pixels = torch.cat([self._frame(frame) for frame in self._prepare(latents).split(1, 2)], 1)
        self._device = pixels.device
        return pixels

    def _begin(self, height: int, width: int) -> None:
        self._tiles = _Tiles.of(self._vae, height, width, self._tiling)
        count = sum(isinstance(module, nn.Conv3d) for module in self._vae.decoder.modules())
        self._caches = [[None] * count for _ in range(len(self._tiles.rows) * len(self._tiles.columns))]

    def _frame(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels of one latent frame: one frame for the first, else as many as the temporal ratio."""
        assert self._tiles is not None
        caches = iter(self._caches)
        parts = [[self._part(latents[..., y, x], next(caches)) for x in self._tiles.columns] for y in self._tiles.rows]
        picture = self._tiles.joined(self._vae, parts)
        side = self._vae.config.patch_size or 1
        picture = rearrange(picture, "b (c q r) f h w -> b c f (h r) (w q)", q=side, r=side)
        return to_unit_range(torch.clamp(picture, min=-1.0, max=1.0))

    def _part(self, latents: torch.Tensor, cache: list[Any]) -> torch.Tensor:
        first = cache[0] is None
        return self._vae.decoder(self._vae.post_quant_conv(latents), feat_cache=cache, feat_idx=[0], first_chunk=first)

    def _rest(self) -> torch.Tensor:
        assert self._shape is not None
        ratio = self._vae.spatial_compression_ratio
        return torch.empty((1, 0, *(ratio * side for side in self._shape[1:]), 3), device=self._device)

    def _warm(self, latents: torch.Tensor, position: int) -> int:
        for frame in latents.split(1, 2):
            self._decode(frame)
        return (position - 1) * _rate(self._vae.decoder.up_blocks) + 1

    def _tensors(self) -> dict[str, torch.Tensor]:
        kept = {
            _name(t, i): value
            for t, cache in enumerate(self._caches)
            for i, value in enumerate(cache)
            if value is not None
        }
        return {name: torch.empty(0) if isinstance(value, str) else value for name, value in kept.items()}

    def _load(self, tensors: Mapping[str, torch.Tensor], shape: tuple[int, ...]) -> None:
        if not shape:
            return
        self._begin(*shape[1:])
        places = {_name(t, i): (cache, i) for t, cache in enumerate(self._caches) for i in range(len(cache))}
        if not tensors or not set(tensors) <= set(places) or shape[0] != self._vae.decoder.conv_in.in_channels:
            raise ResumeError(
                f"this state has {len(tensors)} caches for latents of [c, h, w] {list(shape)}, which this VAE, tiled or not as now, "
                "does not make; warm the decoder with latents instead"
            )
        for name, tensor in tensors.items():
            cache, i = places[name]
            cache[i] = tensor if tensor.numel() else _SKIPPED  # the convolutions take it to where they compute


@dataclass(frozen=True)
class _Tiles:
    """Where tiles lie in the latents; of a decoded one: how many px are kept and blended, y and x; the picture's size.

    As `AutoencoderKLWan.tiled_decode` has them, in px before `unpatchify`.
    """

    rows: tuple[slice, ...]
    columns: tuple[slice, ...]
    kept: tuple[int, int] = (0, 0)
    blended: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, vae: Any, height: int, width: int, tiling: _Tiling | None) -> _Tiles:
        ratio, patch = vae.spatial_compression_ratio, vae.config.patch_size or 1
        if tiling is None or (height <= tiling[0][0] // ratio and width <= tiling[0][1] // ratio):
            return cls((slice(None),), (slice(None),))
        size, stride = tiling
        rows, columns = (
            tuple(slice(at, at + tile // ratio) for at in range(0, whole, step // ratio))
            for whole, tile, step in zip((height, width), size, stride, strict=True)
        )
        kept = (stride[0] // patch, stride[1] // patch)
        blended = (size[0] // patch - kept[0], size[1] // patch - kept[1])
        return cls(rows, columns, kept, blended, (height * ratio // patch, width * ratio // patch))

    def joined(self, vae: Any, parts: list[list[torch.Tensor]]) -> torch.Tensor:
        """One picture of decoded tiles, each blended into those above and to the left."""
        if len(self.rows) == len(self.columns) == 1:
            return parts[0][0]
        lines = []
        for i, row in enumerate(parts):
            for j, tile in enumerate(row):  # the VAE's blending writes into `tile`
                if i:
                    vae.blend_v(parts[i - 1][j], tile, self.blended[0])
                if j:
                    vae.blend_h(row[j - 1], tile, self.blended[1])
            lines.append(torch.cat([tile[..., : self.kept[0], : self.kept[1]] for tile in row], -1))
        return torch.cat(lines, 3)[..., : self.size[0], : self.size[1]]


def _tiling(vae: Any) -> _Tiling | None:
    """The VAE's settings as they are now; None where it does not tile."""
    if not vae.use_tiling:
        return None
    size = (vae.tile_sample_min_height, vae.tile_sample_min_width)
    return size, (vae.tile_sample_stride_height, vae.tile_sample_stride_width)


def _name(tile: int, place: int) -> str:
    return f"cache.{tile}.{place}"


def _rate(blocks: Iterable[nn.Module]) -> int:
    """Frames that these blocks make of one."""
    modules = (module for block in blocks for module in block.modules())
    return 2 ** sum(getattr(module, "mode", None) == "upsample3d" for module in modules)


def _reach(decoder: Any) -> int:
    """Latents before one that its pixels hang on: a causal convolution of width k looks k - 1 frames back, at the rate
    where it stands. 38 for Wan 2.1."""
    reach, rate = Fraction(0), 1
    for part in (decoder.conv_in, decoder.mid_block, *decoder.up_blocks, decoder.conv_out):
        widths = [module.kernel_size[0] for module in part.modules() if isinstance(module, nn.Conv3d)]
        reach += Fraction(sum(widths) - len(widths), rate)
        rate *= _rate([part])
    return math.ceil(reach)
