"""Texel lookup: which samples of a frame use the same texel of the noise texture. Exact for any map; for `texture`.

Texels are numbered within a bounding box of the visible texture, so that counting needs no sorting; only texels
scattered over many layers or far apart are sorted. Legend: n samples, l latents, t texel numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .view import TEXELS, View

if TYPE_CHECKING:
    import torch

MOST_FINER = 4  # largest refinement of the samples relative to TEXELS per pixel, along each axis
_COVERED = 0.93  # fraction of the visible texels to be sampled; with less (zooming out, rotation) samples are refined
# Fraction of the texels that could be sampled by area alone; with less the map is folded, which refinement cannot fix.
_EVEN = 0.7
_DENSE = 4  # texels are counted in a dense box of up to this many times the samples; beyond, they are sorted
_PART = 1 << 17  # samples processed at once on a CPU, so that they fit its cache


def build_lookup(view: View) -> Lookup:
    """The lookup of a view, with samples fine enough that few visible texels are missed, where that is possible."""
    (area, most), found = view.stretch(), Lookup(view, 1)
    sampled = int((found.count > 0).sum()) / found.texel.numel()
    if sampled >= _COVERED * area or sampled < _EVEN * most:
        return found
    return Lookup(view, min(MOST_FINER, max(2, math.ceil(math.sqrt(area * _COVERED)))))


class Lookup:
    """texel int32 [l, n / l]: the texel number of each sample; count int32 [t]: the number of samples per texel."""

    def __init__(self, view: View, finer: int) -> None:
        import torch

        self.view, self.finer = view, finer
        latents, each = view.rows * view.columns, (TEXELS * view.spatial * finer) ** 2
        box = _Box.around(view)
        dense = box.texels <= _DENSE * latents * each
        self.texel = torch.empty(latents, each, dtype=torch.int32 if dense else torch.int64, device=box.order.device)
        for part in self.parts():
            self.texel[part] = box.numbers(*view.samples(part, finer), wide=not dense).view(-1, each)
        if dense:
            self.count = self.texel.new_zeros(box.texels)
            for part in self.parts():
                texel = self.texel[part].flatten()
                self.count.index_add_(0, texel, texel.new_ones(1).expand(len(texel)))
        else:
            _, texel, count = torch.unique(self.texel, return_inverse=True, return_counts=True)
            self.texel, self.count = texel.to(torch.int32), count.to(torch.int32)
        self.shared = int(self.count.max()) > 1

    def parts(self) -> Iterator[slice]:
        """Slices of latents to be processed at once."""
        latents, each = self.texel.shape
        step = max(1, _PART // each) if self.texel.device.type == "cpu" else latents
        for first in range(0, latents, step):
            yield slice(first, first + step)

    def scale(self, part: slice) -> torch.Tensor:
        """1 / sqrt of the number of samples that use the texel of each sample, fp32 [n]."""
        return self.count.index_select(0, self.texel[part].flatten()).float().rsqrt_()

    def straddling(self) -> torch.Tensor:
        """Indices of the samples whose texel is also used by another latent, in increasing order."""
        import torch

        latents, each = self.texel.shape
        one = torch.empty_like(self.count)  # any one of the latents that use a texel
        across = torch.zeros_like(self.count, dtype=torch.bool)
        latent = torch.arange(latents, dtype=torch.int32, device=one.device)[:, None].expand(-1, each)
        for part in self.parts():
            one.scatter_(0, self.texel[part].flatten().long(), latent[part].flatten())
        for part in self.parts():
            texel = self.texel[part].flatten()
            across[texel[one.index_select(0, texel) != latent[part].flatten()].long()] = True
        found = [
            across.index_select(0, self.texel[part].flatten()).nonzero()[:, 0] + part.start * each
            for part in self.parts()
        ]
        return torch.cat(found)


@dataclass(frozen=True)
class _Box:
    """Numbering of the texels in a box of some layers. lows and sizes: of x, y; lowest: the first layer; order [highest
    layer + 1 - lowest]: rank of each layer."""

    lows: tuple[int, int]
    sizes: tuple[int, int]
    lowest: int
    order: torch.Tensor

    @staticmethod
    def around(view: View) -> _Box:
        (x_low, x_high), (y_low, y_high) = view.bounds()
        lowest, order = view.layers()
        return _Box((x_low, y_low), (x_high - x_low + 1, y_high - y_low + 1), lowest, order)

    @property
    def texels(self) -> int:
        return self.sizes[0] * self.sizes[1] * (int(self.order[-1]) + 1)

    def numbers(self, layer: torch.Tensor | int, x: torch.Tensor, y: torch.Tensor, wide: bool) -> torch.Tensor:
        """The number of each texel, int32 or (wide) int64 [n]; overwrites x and y."""
        rows = y.sub_(self.lows[1]) if not wide else y.long().sub_(self.lows[1])
        if isinstance(layer, int):
            rows.add_(int(self.order[layer - self.lowest]) * self.sizes[1])
        else:
            rows.add_(self.order.to(rows.dtype).index_select(0, layer - self.lowest) * self.sizes[1])
        return rows.mul_(self.sizes[0]).add_(x).sub_(self.lows[0])
