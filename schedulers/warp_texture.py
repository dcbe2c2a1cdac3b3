"""Noise that sticks to what moves: an endless noise texture, looked up through a motion's maps, white in every frame.

Not noise that is resampled (which blurs) nor warped frame by frame (which wears off): each latent frame is computed alone,
from the texture, so nothing accumulates. A texture cell (1/2 px) that n samples of the picture ask for is shared out by
the white-noise bridge (cf. Chang et al., "How I Warped Your Noise", ICLR'24; equal shares here),

    out_i = q / sqrt(n) + Z_i - mean(Z over the cell's samples),      q, Z standard normal

whose values are exactly independent and standard normal, and add up to sqrt(n) q. A latent value is the sum of its
samples over the root of their number. Only samples whose cell reaches over a latent's border need Z: inside, it cancels.
Legend: n samples or cells, c channels, h w latent height and width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .hash_noise import HashField
from .warp_maps import UNKNOWN, TextureMaps

if TYPE_CHECKING:
    import torch

TEXELS = 2  # texture cells a pixel of frame 0, along each axis
MOST_SAMPLES = 4  # samples a texel, along each axis, where the picture shows more texture than in frame 0
_NUDGE = 2.0**-10  # so that a move by exactly half a texel falls the same way everywhere
_STRIP = 1 << 17  # samples handled at once on a CPU: fits its cache
_DENSE = 8  # texels counted in a dense grid up to this many times the samples; beyond, they are sorted
_COVERED = 0.93  # share of the texels in view that must be asked for; with less (zooming out, turning) samples are set closer


def texture_noise(
    maps: TextureMaps, frame: int, *, channels: int, spatial: int, seed: int, device: torch.device, stream: str = "texture"
) -> torch.Tensor:
    """One latent frame of warped noise [c, h, w] in fp32: what picture `frame` sees of the texture.

    maps: where the picture's points lie on the texture; its height and width are multiples of `spatial`. A function of its
    arguments alone; devices agree up to the rounding of sums.
    """
    field, bridge = HashField(seed, stream), HashField(seed, f"{stream}/bridge")
    samples = TEXELS
    found = _Lookup(maps, frame, samples, device)
    finer = found.finer()
    if finer > 1:
        samples = TEXELS * finer
        found = _Lookup(maps, frame, samples, device)
    edge = samples * spatial
    noise = _summed(found.words(field), found.weights, field, channels, edge, found.size)
    rows, columns = found.size[0] // edge, found.size[1] // edge
    if found.shared.any():
        _add_bridge(noise, found, bridge, edge)
    return (noise / edge).view(channels, rows, columns)


class _Lookup:
    """The texels that a frame's samples ask for: layer, x, y (int32 [n]), how many samples share each, dense keys."""

    def __init__(self, maps: TextureMaps, frame: int, samples: int, device: torch.device) -> None:
        import torch

        self.samples = samples
        self.size = (maps.height * samples, maps.width * samples)
        y, x = (((torch.arange(n, device=device) + 0.5) / samples) for n in self.size)
        y, x = torch.meshgrid(y, x, indexing="ij")
        layer, u, v = maps.texture(frame, x, y)
        layer, unknown = layer.to(torch.int32), layer == UNKNOWN
        if unknown.any():  # nothing is known of these points: noise of this frame alone
            layer = torch.where(unknown, UNKNOWN - 1 - frame, layer)
            u, v = torch.where(unknown, x, u), torch.where(unknown, y, v)
        self.layer, self._u, self._v = layer, u, v
        self.texels = (layer.flatten(), _texel(u), _texel(v))
        self.keys, self._range = _dense_keys(*self.texels)
        self.count = torch.bincount(self.keys, minlength=self._range)[self.keys]
        self.shared = self.count > 1
        self.weights = self.count.float().rsqrt_() if bool(self.shared.any()) else None

    def words(self, field: HashField) -> torch.Tensor:
        """The texels' words in the field; a layer that is alone is hashed once."""
        layer, x, y = self.texels
        low, high = int(layer.min()), int(layer.max())
        return field.cells(low if low == high else layer, x, y)

    def finer(self) -> int:
        """How many times closer samples must lie so that few texels are missed: 1 for moves and zooms in, more for turns, zooms out."""
        area = self.stretch()
        distinct = 1.0 if self.weights is None else float(self.weights.square().mean())
        if distinct >= _COVERED * area:
            return 1
        return min(MOST_SAMPLES, max(2, round(area**0.5 + 0.5)))

    def stretch(self) -> float:
        """Mean texture area of a sample, in texels, over samples whose neighbours are of their layer."""
        inner = (self.layer[1:, 1:] == self.layer[:-1, 1:]) & (self.layer[1:, 1:] == self.layer[1:, :-1])
        ux, vx = (m[1:, 1:] - m[1:, :-1] for m in (self._u, self._v))
        uy, vy = (m[1:, 1:] - m[:-1, 1:] for m in (self._u, self._v))
        area = (ux * vy - uy * vx).abs_().mul_(TEXELS**2).clamp_(max=MOST_SAMPLES**2)
        return float((area * inner).sum() / inner.sum().clamp(min=1))

    def straddling(self, edge: int) -> torch.Tensor:
        """Indices of the samples whose texel is also asked for from another latent cell."""
        import torch

        index = self.shared.nonzero()[:, 0]
        key, cell = self.keys[index], self.cells(edge)[index]
        one = torch.zeros(self._range, dtype=cell.dtype, device=cell.device)
        one[key] = cell  # any of the texel's cells: a texel straddles where some other cell differs from it
        across = torch.zeros(self._range, dtype=torch.bool, device=cell.device)
        across[key[one[key] != cell]] = True
        return index[across[key]]

    def cells(self, edge: int) -> torch.Tensor:
        """The latent cell of each sample, int64 [n]."""
        import torch

        row, column = (torch.arange(n, device=self.keys.device) // edge for n in self.size)
        return (row[:, None] * (self.size[1] // edge) + column).flatten()


def _texel(position: torch.Tensor) -> torch.Tensor:
    """Plane coordinates in px to texel numbers, int32 [n]."""
    import torch

    return (position * TEXELS + _NUDGE).floor_().to(torch.int32).flatten()


def _dense_keys(layer: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, int]:
    """A number for each distinct texel, int64 [n], and how many numbers there are at most."""
    import torch

    ends = [torch.aminmax(a) for a in (layer, x, y)]
    lows = [int(low) for low, _ in ends]
    spans = [int(high) - low + 1 for (_, high), low in zip(ends, lows, strict=True)]
    if spans[0] > 1:
        present = torch.bincount((layer - lows[0]).long()) > 0
        layer, lows[0], spans[0] = (present.cumsum(0) - 1)[(layer - lows[0]).long()], 0, int(present.sum())
    keys = (y.long() - lows[2]).mul_(spans[1]).add_(x - lows[1])
    if spans[0] > 1:
        keys += (layer.long() - lows[0]).mul_(spans[1] * spans[2])
    total = spans[0] * spans[1] * spans[2]
    if total <= _DENSE * keys.numel():
        return keys, total
    found, keys = torch.unique(keys, return_inverse=True)
    return keys, found.numel()


def _summed(
    cells: torch.Tensor, weights: torch.Tensor | None, field: HashField, channels: int, edge: int, size: tuple[int, int]
) -> torch.Tensor:
    """Sums [c, latent cells] of the weighted texture over each latent cell, in strips of whole latent rows."""
    import torch

    rows, columns = size[0] // edge, size[1] // edge
    strip = rows if cells.device.type != "cpu" else max(1, _STRIP // (edge * size[1]))
    sums = []
    for first in range(0, rows, strip):
        part = slice(first * edge * size[1], min(rows, first + strip) * edge * size[1])
        values = field.values(cells[part], channels)
        if weights is not None:
            values.mul_(weights[part])
        sums.append(values.view(channels, -1, edge, columns * edge).sum(2).view(channels, -1, edge).sum(2))
    return torch.cat(sums, 1)


def _add_bridge(noise: torch.Tensor, found: _Lookup, bridge: HashField, edge: int) -> None:
    """Add Z - mean(Z) of the texels that reach over a border, in place. Z belongs to the place on the screen, at all times."""
    import torch

    index = found.straddling(edge)
    if not index.numel():
        return
    texel, group = torch.unique(found.keys[index], return_inverse=True)
    place = index.to(torch.int32)
    z = bridge.at(found.samples, place % found.size[1], place // found.size[1], noise.shape[0])
    mean = torch.zeros(noise.shape[0], texel.numel(), device=z.device).index_add_(1, group, z)
    mean /= torch.bincount(group)
    noise.index_add_(1, found.cells(edge)[index], z - mean[:, group])
