"""Where a frame's samples lie on the noise texture: TEXELS x TEXELS samples a pixel, or more where the picture shows
more of it.

Finer samples go along the plane through their pixel's own, so a motion is asked once a frame, at the same points
always. Legend: n samples, l latents, s pixels and e = TEXELS s samples along a latent's edge.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from .maps import UNKNOWN, TextureMaps

if TYPE_CHECKING:
    import torch

TEXELS = 2  # texture cells a pixel of frame 0, along each axis
_NUDGE = 2.0**-10  # so that a move by exactly half a texel falls the same way everywhere
_TORN = 16  # a pixel's samples more texels apart than this are not of one surface: no plane goes through them


class View:
    """What a frame's pixels see. Samples come latent by latent; finer ones, in each latent, as finer^2 grids of e x e,
    each with one sample of every TEXELS x TEXELS a pixel."""

    def __init__(self, maps: TextureMaps, frame: int, spatial: int, device: torch.device) -> None:
        import torch

        self.rows, self.columns, self.spatial = maps.height // spatial, maps.width // spatial, spatial
        x, y = self._screen(device)
        layer, u, v = maps.texture(frame, x, y)
        layer, unknown = layer.to(torch.int32), layer == UNKNOWN
        if unknown.any():  # nothing is known of these points: noise of this frame alone
            layer = torch.where(unknown, UNKNOWN - 1 - frame, layer)
            u, v = torch.where(unknown, x, u), torch.where(unknown, y, v)
        low, high = torch.aminmax(layer)
        self._alone = int(low) if int(low) == int(high) else None
        by_pixel = (-1, spatial, TEXELS, spatial, TEXELS)
        self._layer = layer.reshape(by_pixel)
        self._places = [(m * TEXELS + _NUDGE).view(by_pixel) for m in (u, v)]
        self._right, whole_right = self._slopes(-1)
        self._down, whole_down = self._slopes(-3)
        self._whole = whole_right[..., :1, :, :] & whole_down[..., :1]

    def _screen(self, device: torch.device) -> list[torch.Tensor]:
        """x and y in px of the samples, [l, e, e]."""
        import torch

        edge = TEXELS * self.spatial
        y, x = ((torch.arange(n * edge, device=device) + 0.5) / TEXELS for n in (self.rows, self.columns))
        y, x = y.view(self.rows, 1, edge, 1), x.view(1, self.columns, 1, edge)
        return [m.expand(self.rows, self.columns, edge, edge).reshape(-1, edge, edge) for m in (x, y)]

    def _slopes(self, axis: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Texels in u and v from a sample to the next of its pixel along an axis, 0 between surfaces; and where it is
        one surface."""
        before, after = ([m.narrow(axis, k, 1) for m in (*self._places, self._layer)] for k in (0, 1))
        u, v = (b - a for a, b in zip(before[:2], after[:2], strict=True))
        whole = (u.abs() <= _TORN) & (v.abs() <= _TORN)
        if self._alone is None:
            whole &= before[2] == after[2]
        return [u.mul_(whole), v.mul_(whole)], whole

    def stretch(self) -> tuple[float, float]:
        """Mean texture area of a sample, in texels, over the pixels that show one surface; and the same with areas of
        at most 1."""
        (ux, vx), (uy, vy) = ([m[..., :1, :, :] for m in self._right], [m[..., :1] for m in self._down])
        area = (ux * vy - uy * vx).abs_().mul_(self._whole)
        whole = self._whole.sum().clamp(min=1)
        return float(area.sum() / whole), float(area.clamp(max=1).sum() / whole)

    def bounds(self) -> list[tuple[int, int]]:
        """The least and greatest x, then y, of texels that samples lie in, however fine they are."""
        import torch

        found = []
        for axis, m in enumerate(self._places):
            low, high = torch.aminmax(m)
            reach = (self._right[axis].abs().amax() + self._down[axis].abs().amax()) / 2
            found.append((int((low - reach).floor()), int((high + reach).floor())))
        return found

    def layers(self) -> tuple[int, torch.Tensor]:
        """The lowest layer that is seen, and for each from it on, how many lower ones are."""
        import torch

        low, high = torch.aminmax(self._layer)
        there = torch.bincount((self._layer - low).flatten(), minlength=int(high - low) + 1) > 0
        return int(low), there.cumsum(0) - 1

    def samples(self, part: slice, finer: int) -> tuple[torch.Tensor | int, torch.Tensor, torch.Tensor]:
        """The texels that the samples of some latents lie in: layer (one where there is one), x and y, int32 [n]."""
        import torch

        x, y = (self._axis(axis, part, finer) for axis in (0, 1))
        if self._alone is not None:
            return self._alone, x, y
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
        for grid, (below, beside) in enumerate(product(offsets, offsets)):
            torch.add(first, down, alpha=below, out=there)
            texels[:, grid] = there.add_(right, alpha=beside).floor_()
        return texels.flatten()

    def place(self, sample: torch.Tensor, finer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Column and row on the screen of samples by number, int32 [n], counted at the samples' spacing."""
        import torch

        edge = TEXELS * self.spatial
        latent = (sample // (finer * edge) ** 2).to(torch.int32)
        within = (sample - latent.long() * (finer * edge) ** 2).to(torch.int32)
        grid, within = within // edge**2, within % edge**2
        row = ((latent // self.columns) * edge + within // edge) * finer + grid // finer
        column = ((latent % self.columns) * edge + within % edge) * finer + grid % finer
        return column, row
