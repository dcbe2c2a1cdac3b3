"""Who shares which texel of the noise texture: `warp_texture`'s bookkeeping, exact for any map.

Texels are numbered in a box around all that a frame sees, so that counting needs no sorting; only what lies scattered
over many layers or far apart is sorted. Legend: n samples, l latents, t numbers of texels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .view import TEXELS, View

if TYPE_CHECKING:
    import torch

MOST_FINER = 4  # times closer than TEXELS a pixel, along each axis
_COVERED = (
    0.93  # share of the texels in view that must be asked for; with less (zooming out, turning) samples are set closer
)
_EVEN = 0.7  # of the texels that areas alone let samples ask for; with less the map is folded, which finer samples cannot mend
_DENSE = 4  # texels are counted in a dense box of up to this many times the samples; beyond, they are sorted
_PART = 1 << 17  # samples handled at once on a CPU: they fit its cache


def lookup(view: View) -> Lookup:
    """What a view's samples ask for, the samples being so close that few texels in view are missed, where that can be
    had."""
    (area, most), found = view.stretch(), Lookup(view, 1)
    asked = int((found.count > 0).sum()) / found.texel.numel()
    if asked >= _COVERED * area or asked < _EVEN * most:
        return found
    return Lookup(view, min(MOST_FINER, max(2, math.ceil(math.sqrt(area * _COVERED)))))


class Lookup:
    """texel int32 [l, n / l]: the number of the texel that each sample asks for; count int32 [t]: samples that ask for
    a number."""

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
                asked = self.texel[part].flatten()
                self.count.index_add_(0, asked, asked.new_ones(1).expand(len(asked)))
        else:
            _, texel, count = torch.unique(self.texel, return_inverse=True, return_counts=True)
            self.texel, self.count = texel.to(torch.int32), count.to(torch.int32)
        self.shared = int(self.count.max()) > 1

    def parts(self) -> Iterator[slice]:
        """Latents in parts of a size to be handled at once."""
        latents, each = self.texel.shape
        step = max(1, _PART // each) if self.texel.device.type == "cpu" else latents
        for first in range(0, latents, step):
            yield slice(first, first + step)

    def scale(self, part: slice) -> torch.Tensor:
        """1 / sqrt of how many samples share each sample's texel, fp32 [n]."""
        return self.count.index_select(0, self.texel[part].flatten()).float().rsqrt_()

    def straddling(self) -> torch.Tensor:
        """Numbers of the samples whose texel is also asked for from another latent, rising."""
        import torch

        latents, each = self.texel.shape
        one = torch.empty_like(self.count)  # any of the latents that ask for a texel
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
    """Numbers for the texels of some layers from low on. lows and sizes: of x, y; order [highest layer + 1 - lowest]:
    of the layers."""

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
        """A number for each texel, int32 or (wide) int64 [n]; overwrites x and y."""
        rows = y.sub_(self.lows[1]) if not wide else y.long().sub_(self.lows[1])
        if isinstance(layer, int):
            rows.add_(int(self.order[layer - self.lowest]) * self.sizes[1])
        else:
            rows.add_(self.order.to(rows.dtype).index_select(0, layer - self.lowest) * self.sizes[1])
        return rows.mul_(self.sizes[0]).add_(x).sub_(self.lows[0])
