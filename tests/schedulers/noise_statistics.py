"""Helper of the noise tests in addition to `videogen.metrics.whiteness`: the ideal frame of a motion."""

from __future__ import annotations

import torch

from videogen.metrics.coherence import correlation
from videogen.metrics.whiteness import noise_faults as faults
from videogen.schedulers.warping.hash_noise import HashField
from videogen.schedulers.warping.maps import TextureMaps
from videogen.schedulers.warping.view import TEXELS

__all__ = ["correlation", "faults", "ideal_texture"]


def ideal_texture(
    maps: TextureMaps, frame: int, spatial: int, channels: int, seed: int, dense: int = 12
) -> torch.Tensor:
    """A latent frame in which each latent is the exact average of its footprint on the noise texture, texels weighted
    by area."""
    field, rows, columns = HashField(seed, "texture"), maps.height // spatial, maps.width // spatial
    result = torch.empty(channels, rows, columns)
    steps = (torch.arange(spatial * dense) + 0.5) / dense
    for row in range(rows):
        for column in range(columns):
            y, x = torch.meshgrid(steps + row * spatial, steps + column * spatial, indexing="ij")
            _, u, v = maps.texture(frame, x, y)
            cells = torch.stack([(u * TEXELS).floor().int(), (v * TEXELS).floor().int()], -1).view(-1, 2)
            low = cells.amin(0)
            width, height = (cells.amax(0) - low + 1).tolist()
            area = torch.bincount(
                ((cells - low)[:, 1] * width + (cells - low)[:, 0]).long(), minlength=width * height
            ).float()
            vy, vx = torch.meshgrid(
                torch.arange(height).int() + low[1], torch.arange(width).int() + low[0], indexing="ij"
            )
            result[:, row, column] = (field.at(0, vx.flatten(), vy.flatten(), channels) * area).sum(1) / area.norm()
    return result
