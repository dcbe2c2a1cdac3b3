"""Is this noise white and Gaussian? Statistics of one frame [c, h, w], each as a figure whose size is known for true noise."""

from __future__ import annotations

import math

import torch

from videogen.schedulers.hash_noise import HashField
from videogen.schedulers.warp_maps import TextureMaps
from videogen.schedulers.warp_texture import TEXELS


def faults(z: torch.Tensor) -> list[str]:
    """What tells z from white standard normal noise, at p of about 0.001 or less for each row."""
    z = z.double()
    rows = {
        "K-S": (kolmogorov_smirnov(z), 1.95),
        "mean": (abs(float(z.mean())) * math.sqrt(z.numel()), 4),
        "variance": (abs(float(z.var()) - 1) * math.sqrt(z.numel() / 2), 4),
        "kurtosis": (abs(float((z**4).mean() / z.var() ** 2 - 3)), 0.06),
        "Moran": (max(abs(neighbour_score(z, dy, dx)) for dy, dx in [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0)]), 4.5),
        "channels": (channel_score(z), 4.5),
        "PSD": (psd_score(z), 4.5),
    }
    return [f"{name} {value:.3g} > {limit}" for name, (value, limit) in rows.items() if not value <= limit]


def kolmogorov_smirnov(z: torch.Tensor) -> float:
    """Largest distance of the distribution from the normal one, times sqrt(n): 1.95 is p = 0.001."""
    ordered = torch.special.ndtr(z.flatten().sort().values)
    n = ordered.numel()
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return float(torch.maximum((ordered - steps[:-1]).abs().max(), (ordered - steps[1:]).abs().max())) * math.sqrt(n)


def neighbour_score(z: torch.Tensor, dy: int, dx: int) -> float:
    """Correlation with the value (dy, dx) further on, in standard deviations of what chance gives (Moran's I of one lag)."""
    product = z[:, dy:, dx:] * z[:, : z.shape[1] - dy, : z.shape[2] - dx]
    return float(product.mean()) * math.sqrt(product.numel())


def channel_score(z: torch.Tensor) -> float:
    flat = z.flatten(1)
    products = flat @ flat.T / math.sqrt(flat.shape[1])
    return float(products.triu(1).abs().max())


def psd_score(z: torch.Tensor) -> float:
    """The ring of frequencies whose mean power is furthest from 1, in its own standard deviations."""
    power = torch.fft.fft2(z).abs().square() / z[0].numel()
    fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64) for n in z.shape[1:])
    ring = ((fy[:, None] ** 2 + fx**2).sqrt() * 16).long().flatten()
    sums = torch.zeros(12, dtype=torch.float64).index_add_(0, ring, power.mean(0).flatten())
    counts = torch.bincount(ring, minlength=12)
    used = counts > 50
    scores = (sums[used] / counts[used] - 1).abs() * (counts[used] * len(z) / 2).sqrt()
    return float(scores.max())


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt())


def ideal_texture(maps: TextureMaps, frame: int, spatial: int, channels: int, seed: int, dense: int = 12) -> torch.Tensor:
    """What a latent frame would be if each latent averaged its footprint on the texture exactly, each texel by its area."""
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
            area = torch.bincount(((cells - low)[:, 1] * width + (cells - low)[:, 0]).long(), minlength=width * height).float()
            vy, vx = torch.meshgrid(torch.arange(height).int() + low[1], torch.arange(width).int() + low[0], indexing="ij")
            result[:, row, column] = (field.at(0, vx.flatten(), vy.flatten(), channels) * area).sum(1) / area.norm()
    return result
