"""Sampling grid of a frame on the noise texture: TEXELS x TEXELS samples per pixel, or more where the image shows more
of the texture.

Finer samples lie on the plane through the samples of their pixel, so a motion is evaluated once per frame, always at
the same points. Legend: n samples, l latents, s pixels and e = TEXELS s samples along a latent's edge.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from .maps import UNKNOWN, TextureMaps

if TYPE_CHECKING:
    import torch

TEXELS = 2  # texture cells per pixel of frame 0, along each axis
_NUDGE = 2.0**-10  # so that a shift by exactly half a texel is rounded the same way everywhere
_TORN = 16  # samples of a pixel that are more texels apart belong to different surfaces: no plane goes through them


class View:
    """Texture positions of the samples of a frame. Samples are ordered by latent; refined samples, within each latent,
    as finer^2 grids of e x e, each with one sample of every TEXELS x TEXELS per pixel."""

    def __init__(self, maps: TextureMaps, frame: int, spatial: int, device: torch.device) -> None:
        import torch

        self.rows, self.columns, self.spatial = maps.height // spatial, maps.width // spatial, spatial
        x, y = self._screen(device)
        layer, u, v = maps.texture(frame, x, y)
        layer, unknown = layer.to(torch.int32), layer == UNKNOWN
        if unknown.any():  # the surface of these points is unknown: independent noise in this frame
            layer = torch.where(unknown, UNKNOWN - 1 - frame, layer)
            u, v = torch.where(unknown, x, u), torch.where(unknown, y, v)
        low, high = torch.aminmax(layer)
        self._single_layer = int(low) if int(low) == int(high) else None
        by_pixel = (-1, spatial, TEXELS, spatial, TEXELS)
        self._layer = layer.reshape(by_pixel)
        self._places = [(m * TEXELS + _NUDGE).view(by_pixel) for m in (u, v)]
        self._right, right_intact = self._slopes(-1)
        self._down, down_intact = self._slopes(-3)
        self._intact = right_intact[..., :1, :, :] & down_intact[..., :1]

    def _screen(self, device: torch.device) -> list[torch.Tensor]:
        """x and y in px of the samples, [l, e, e]."""
        import torch

        edge = TEXELS * self.spatial
        y, x = ((torch.arange(n * edge, device=device) + 0.5) / TEXELS for n in (self.rows, self.columns))
        y, x = y.view(self.rows, 1, edge, 1), x.view(1, self.columns, 1, edge)
        return [m.expand(self.rows, self.columns, edge, edge).reshape(-1, edge, edge) for m in (x, y)]

    def _slopes(self, axis: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Differences in u and v, in texels, between neighbouring samples of a pixel along an axis, 0 between surfaces;
        and where both belong to one surface."""
        before, after = ([m.narrow(axis, k, 1) for m in (*self._places, self._layer)] for k in (0, 1))
        u, v = (b - a for a, b in zip(before[:2], after[:2], strict=True))
        intact = (u.abs() <= _TORN) & (v.abs() <= _TORN)
        if self._single_layer is None:
            intact &= before[2] == after[2]
        return [u.mul_(intact), v.mul_(intact)], intact

    def stretch(self) -> tuple[float, float]:
        """Mean texture area of a sample, in texels, over the pixels that show a single surface; and the same with areas
        clipped to 1."""
        (ux, vx), (uy, vy) = ([m[..., :1, :, :] for m in self._right], [m[..., :1] for m in self._down])
        area = (ux * vy - uy * vx).abs_().mul_(self._intact)
        count = self._intact.sum().clamp(min=1)
        return float(area.sum() / count), float(area.clamp(max=1).sum() / count)

    def bounds(self) -> list[tuple[int, int]]:
        """Minimum and maximum texel x, then y, of the samples, at any refinement."""
        import torch

        found = []
        for axis, m in enumerate(self._places):
            low, high = torch.aminmax(m)
            reach = (self._right[axis].abs().amax() + self._down[axis].abs().amax()) / 2
            found.append((int((low - reach).floor()), int((high + reach).floor())))
        return found

    def layers(self) -> tuple[int, torch.Tensor]:
        """The lowest visible layer, and the rank of each layer from it on among the visible layers."""
        import torch

        low, high = torch.aminmax(self._layer)
        there = torch.bincount((self._layer - low).flatten(), minlength=int(high - low) + 1) > 0
        return int(low), there.cumsum(0) - 1

    def samples(self, part: slice, finer: int) -> tuple[torch.Tensor | int, torch.Tensor, torch.Tensor]:
        """The texels of the samples of some latents: layer (an int where there is only one), x and y, int32 [n]."""
        import torch

        x, y = (self._axis(axis, part, finer) for axis in (0, 1))
        if self._single_layer is not None:
            return self._single_layer, x, y
        low, high = (int(end) for end in torch.aminmax(self._layer[part]))
        return low if low == high else self._layer[part].flatten(1)[:, None].expand(-1, finer**2, -1).flatten(), x, y

    def _axis(self, axis: int, part: slice, finer: int) -> torch.Tensor:
        import torch

        first = self._places[axis][part]
        if finer == 1:
            return first.floor().to(torch.int32).flatten()
        first, right, down = (
            m.expand(first.shape).flatten(1) for m in (first, self._right[axis][part], self._down[axis][part])
        )
        texels = first.new_empty(len(first), finer**2, first.shape[1], dtype=torch.int32)
        offsets = [(k + 0.5) / finer - 0.5 for k in range(finer)]
        there = torch.empty_like(first)
        for grid, (dy, dx) in enumerate(product(offsets, offsets)):
            torch.add(first, down, alpha=dy, out=there)
            texels[:, grid] = there.add_(right, alpha=dx).floor_()
        return texels.flatten()

    def place(self, sample: torch.Tensor, finer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Column and row on the screen of samples given by index, int32 [n], in units of the samples' spacing."""
        import torch

        edge = TEXELS * self.spatial
        latent = (sample // (finer * edge) ** 2).to(torch.int32)
        within = (sample - latent.long() * (finer * edge) ** 2).to(torch.int32)
        grid, within = within // edge**2, within % edge**2
        row = ((latent // self.columns) * edge + within // edge) * finer + grid // finer
        column = ((latent % self.columns) * edge + within % edge) * finer + grid % finer
        return column, row
