"""Latent preview: a map from latents to RGB at latent resolution, fitted once per loaded model.

The map is a small network (two hidden layers) on a latent and its 8 neighbours, and on the mean and deviation of each
channel over the latent frame, since VAEs normalise over the image. It is fitted to moving polygons and discs on plain,
graded, striped, checkered and noisy grounds, encoded by the model's VAE: as clips, since a video VAE encodes later
latents otherwise than the first, or as images where each frame has a latent of its own. The fit costs some hundred
small encodes (5 to 10 s on a CPU), so its result is cached on disk per VAE; a preview costs less than 5 % of a
denoising step.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from videogen.core.disk_cache import DiskCache
from videogen.core.frame_latent_map import FrameLatentMap

from .base import Backbone
from .in_memory import digest_component

_LATENTS, _LATENTS_PER_CLIP, _ENCODED_TOGETHER = 384, 3, 4
_SIDE, _NOISE_CELL = 64, 4
_WIDTH = 64
_RANGE = 5.0  # deviations
_STEPS, _BATCH, _RATE = 1200, 1024, 4e-3


class LatentPreview:
    """`preview(latents [b, c, f, h, w]) -> uint8 [f, h, w, 3]` of the first clip, at latent resolution.

    The latents are clean ones: of an encoded clip, or the estimate of a step. cache: of fits; None: fit each time.
    """

    def __init__(self, backbone: Backbone, cache: DiskCache | None = None) -> None:
        self._single_first = backbone.geometry.single_first
        key = None if cache is None else _key(backbone)
        network = None if cache is None or key is None else _read_network(cache, key)
        if network is None:
            with torch.inference_mode(False), torch.enable_grad():
                network = _fit(*_draw_pairs(backbone))
            if cache is not None and key is not None:
                cache.write(key, save(network.state_dict()))
        self._network = network

    @torch.no_grad()
    def __call__(self, latents: torch.Tensor) -> np.ndarray:
        colours = self._network(_features(latents[0].float().cpu(), self._single_first))
        return (colours.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _key(backbone: Backbone) -> str | None:
    """Under which a fit is cached: the VAE's digest, and the layout and dtype of its latents. None without a VAE."""
    vae, geometry = getattr(backbone.pipeline, "vae", None), backbone.geometry
    digest = None if vae is None else digest_component("vae", vae)
    if digest is None:
        return None
    layout = (geometry.temporal, geometry.spatial, geometry.multiple, geometry.single_first)
    return hashlib.sha256(f"{digest}/{layout}".encode()).hexdigest()[:40]


def _read_network(cache: DiskCache, key: str) -> nn.Module | None:
    """The network of an earlier fit; None where there is none, or it is that of another version."""
    payload = cache.read(key)
    if payload is None:
        return None
    try:
        tensors = load(payload)
        network = _build_network(tensors["0.mean"], tensors["0.deviation"])
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, RuntimeError):
        return None
    return network.requires_grad_(False)


def _features(latents: torch.Tensor, single_first: bool) -> torch.Tensor:
    """Inputs of the network, [f, h, w, features], from latents [c, f, h, w]."""
    height, width = latents.shape[2:]
    frames = latents.transpose(0, 1)
    padded = nn.functional.pad(frames, (1, 1, 1, 1), mode="replicate")
    near = [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3)]
    mean, deviation = (
        statistic.expand_as(frames) for statistic in (frames.mean((2, 3), True), frames.std((2, 3), keepdim=True))
    )
    first = torch.zeros_like(frames[:, :1])
    first[:1] = float(single_first)
    return torch.cat([*near, mean, deviation, first], 1).permute(0, 2, 3, 1)


def _draw_pairs(backbone: Backbone) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [n, features] of synthetic latents, and the mean colours [n, 3] from 0 to 1 of what they encode."""
    geometry = backbone.geometry
    latent_map = FrameLatentMap.from_geometry(geometry)
    latents_per_clip = _LATENTS_PER_CLIP if geometry.temporal > 1 else 1
    frames, side = latent_map.frame_count(latents_per_clip), max(_SIDE, geometry.multiple * 4)
    draw = np.random.default_rng(0)
    inputs, targets = [], []
    for _ in range(_LATENTS // latents_per_clip // _ENCODED_TOGETHER):
        clips = torch.from_numpy(np.stack([_draw_clip(draw, frames, side) for _ in range(_ENCODED_TOGETHER)]))
        with torch.no_grad():
            encoded = backbone.encode(clips).float().cpu()
        for clip, latents in zip(clips, encoded, strict=True):
            pixels = clip.permute(0, 3, 1, 2).float() / 255
            spans = (latent_map.frames_of(latent) for latent in range(latents.shape[1]))
            means = torch.stack([pixels[span.start : span.stop].mean(0) for span in spans])
            cells = nn.functional.adaptive_avg_pool2d(means, (latents.shape[-2], latents.shape[-1]))
            inputs.append(_features(latents, geometry.single_first).flatten(0, 2))
            targets.append(cells.permute(0, 2, 3, 1).flatten(0, 2))
    return torch.cat(inputs), torch.cat(targets)


class _Standardised(nn.Module):
    """Features of mean 0 and deviation 1 over those of the fit, limited to the range that the network has seen."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return ((inputs - self.mean) / self.deviation).clamp(-_RANGE, _RANGE)


def _build_network(mean: torch.Tensor, deviation: torch.Tensor) -> nn.Sequential:
    """The network for features of this mean and deviation [features], its weights not set yet."""
    widths = (len(mean), _WIDTH, _WIDTH, 3)
    linear = [nn.utils.skip_init(nn.Linear, a, b) for a, b in pairwise(widths)]
    return nn.Sequential(_Standardised(mean, deviation), linear[0], nn.SiLU(), linear[1], nn.SiLU(), linear[2])


def _fit(inputs: torch.Tensor, targets: torch.Tensor) -> nn.Module:
    """The network with the smallest mean absolute error that AdamW finds. The global random state is left as it is."""
    generator = torch.Generator().manual_seed(0)
    deviation = inputs.std(0)
    network = _build_network(inputs.mean(0), torch.where(deviation > 0, deviation, 1.0))
    for layer in (layer for layer in network if isinstance(layer, nn.Linear)):
        bound = layer.in_features**-0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
    for _ in range(_STEPS):
        rows = torch.randint(len(inputs), (_BATCH,), generator=generator)
        loss = (network(inputs[rows]) - targets[rows]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.requires_grad_(False)


def _draw_clip(draw: np.random.Generator, frames: int, side: int) -> np.ndarray:
    """One or two moving polygons or discs on a ground of two colours: uint8 [frames, side, side, 3]."""
    clip = np.repeat(_draw_ground(draw, side)[None], frames, 0)
    rows, columns = np.mgrid[:side, :side].astype(float)
    for _ in range(draw.integers(1, 3)):
        colour = draw.random(3) if draw.random() < 0.5 else draw.uniform(0, 0.3, 3) + 0.7 * draw.integers(0, 2, 3)
        centre, speed = draw.random(2) * side, draw.uniform(-1, 1, 2) * side / 16
        radius, corners, turn = side * draw.uniform(0.08, 0.25), draw.choice([3, 4, 5, 64]), draw.uniform(0, 2 * np.pi)
        for frame in range(frames):
            x, y = (along - place for along, place in zip((columns, rows), centre + speed * frame, strict=True))
            from_middle = np.mod(np.arctan2(y, x) + turn, 2 * np.pi / corners) - np.pi / corners
            distance = np.hypot(x, y) * np.cos(from_middle) / np.cos(np.pi / corners)
            inside = np.clip(radius - distance + 0.5, 0, 1)[..., None]
            clip[frame] = clip[frame] * (1 - inside) + colour * inside
    return (clip.clip(0, 1) * 255).round().astype(np.uint8)


def _draw_ground(draw: np.random.Generator, side: int) -> np.ndarray:
    """Two colours, half of the time similar ones, in one of six patterns: [side, side, 3] from 0 to 1."""
    rows, columns = np.mgrid[:side, :side].astype(float)
    angle, period = draw.uniform(0, 2 * np.pi), draw.uniform(4, 14)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    plain = np.zeros_like(rows)
    graded = (along - along.min()) / np.ptp(along)
    checkered, striped = (columns // period + rows // period) % 2, along // period % 2
    noise = draw.random((side // _NOISE_CELL, side // _NOISE_CELL))
    noisy = np.kron(noise, np.ones((_NOISE_CELL, _NOISE_CELL)))
    pattern = (plain, plain, graded, checkered, striped, noisy)[draw.integers(6)]
    first, second = _draw_colour(draw), _draw_colour(draw)
    contrast = 0.3 if draw.random() < 0.5 else 1.0
    return first + contrast * (second - first) * pattern[..., None]


def _draw_colour(draw: np.random.Generator) -> np.ndarray:
    """A colour or, less often, a grey; half of them darkened. RGB [3] from 0 to 1."""
    colour = draw.random(3) if draw.random() < 0.7 else np.repeat(draw.random(), 3)
    return colour * draw.choice([0.15, 0.5, 1, 1])
