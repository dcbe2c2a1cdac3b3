"""Noise texture lookup: noise attached to moving surfaces, white in every frame.

An infinite noise texture is sampled through a motion's maps. Noise is neither resampled (which blurs it) nor warped
from frame to frame (which degrades it): each latent frame is computed independently from the texture, so errors do not
accumulate. A texture cell (1/2 px) with n samples in an image is divided among them by the white-noise bridge (cf.
Chang et al., "How I Warped Your Noise", ICLR'24; with equal weights here),

    out_i = q / sqrt(n) + Z_i - mean(Z over the cell's samples),      q, Z standard normal

whose values are exactly independent and standard normal, and sum to sqrt(n) q. A latent value is the sum of its samples
over the square root of their number. Only samples whose cell extends across a latent's border need Z: within a latent
it cancels. Legend: n samples, t texels (cells of the texture), c channels, h w latent height and width, l = h w
latents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .hash_noise import HashField, Mixer
from .lookup import Lookup, build_lookup
from .view import TEXELS, View

if TYPE_CHECKING:
    import torch

    from .maps import TextureMaps

_BOXED = 0.8  # a latent's bounding box is hashed instead of its samples if it has at most this many texels per sample
_BRIDGE = 1 << 21  # samples times pairs of channels whose Z is computed at once


def texture_noise(
    maps: TextureMaps,
    frame: int,
    *,
    channels: int,
    spatial: int,
    seed: int,
    device: torch.device,
    stream: str = "texture",
) -> torch.Tensor:
    """One latent frame of warped noise [c, h, w] in fp32: the texture as visible in image `frame`.

    maps: positions of image points on the texture; height and width are multiples of `spatial`. A pure function of its
    arguments; devices agree up to the rounding of sums.
    """
    view = View(maps, frame, spatial, device)
    found = build_lookup(view)
    noise = _sums(found, HashField(seed, stream), channels)
    if found.shared:
        _add_bridge(noise, found, HashField(seed, f"{stream}/bridge"))
    return (noise / (TEXELS * found.finer * spatial)).view(channels, view.rows, view.columns)


def _sums(found: Lookup, field: HashField, channels: int) -> torch.Tensor:
    """Sums [c, l] over the samples of each latent, each texel weighted by 1 / sqrt of its number of samples."""
    import torch

    latents, each = found.texel.shape
    mixer = Mixer(field, channels, found.texel.device, cells=latents * each, multiple=each)
    sums = torch.empty(mixer.pairs, 2, latents, device=found.texel.device)
    for part in found.parts():
        layer, x, y = found.view.samples(part, found.finer)
        weight = found.scale(part) if found.shared else None
        boxes = (
            _boxes(x.view(-1, each), y.view(-1, each), weight)
            if weight is not None and isinstance(layer, int)
            else None
        )
        if boxes is not None:
            x, y, weight = boxes
        _sum_into(sums[:, :, part], mixer, field.cells(layer, x, y), weight)
    return sums.flatten(0, 1)[:channels]


def _sum_into(sums: torch.Tensor, mixer: Mixer, words: torch.Tensor, weight: torch.Tensor | None) -> None:
    """Weighted sums [p, 2, l] of the noise at words [n], n / l per latent."""
    each = len(words) // sums.shape[2]
    step = mixer.most // each
    for first in range(0, sums.shape[2], step):
        some = slice(first * each, (first + step) * each)
        values = mixer.values(words[some])
        if weight is not None:
            values *= weight[some]
        sums[:, :, first : first + step] = values.unflatten(2, (-1, each)).sum(3).transpose(0, 1)


def _boxes(
    x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """All texels in a bounding box of each latent, x and y int32 [n'], with the summed weights of their samples; None
    where there are more of them than samples.

    x, y int32 [l, n / l] and weight [n]: of the samples. Where many samples use the same texel, this needs less
    hashing.
    """
    import torch

    left, top = x.amin(1, keepdim=True), y.amin(1, keepdim=True)
    columns, rows = x - left, y - top
    width, height = int(columns.max()) + 1, int(rows.max()) + 1
    if width * height > _BOXED * x.shape[1]:
        return None
    latents, across, down = (torch.arange(n, dtype=x.dtype, device=x.device) for n in (len(x), width, height))
    place = rows.mul_(width).add_(columns).add_(latents[:, None] * (width * height))
    summed = weight.new_zeros(len(x) * width * height).index_add_(0, place.flatten(), weight)
    columns, rows = (left + across)[:, None], (top + down)[:, :, None]
    return columns.expand(-1, height, -1).flatten(), rows.expand(-1, -1, width).flatten(), summed


def _add_bridge(sums: torch.Tensor, found: Lookup, field: HashField) -> None:
    """Add Z - mean(Z) of the texels that extend across a latent's border, in place. Z is attached to screen positions,
    in all frames."""
    import torch

    index = found.straddling()
    if not len(index):
        return
    texel, group = torch.unique(found.texel.view(-1)[index], return_inverse=True)
    count, latent = found.count.index_select(0, texel), index // found.texel.shape[1]
    words = field.cells(TEXELS * found.finer, *found.view.place(index, found.finer))
    step = 2 * max(1, _BRIDGE // len(index))
    for first in range(0, len(sums), step):
        some = sums[first : first + step]
        for total, z in zip(some, field.values(words, len(some), first), strict=True):
            mean = torch.zeros(len(texel), device=z.device).index_add_(0, group, z) / count
            total.index_add_(0, latent, z - mean.index_select(0, group))
