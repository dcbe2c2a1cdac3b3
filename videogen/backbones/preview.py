"""Latent preview: a map from latents to RGB at latent resolution, fitted once per loaded model.

The map is a ridge regression on the channels of a latent and its 8 neighbours, and on the products of its own channels.
It is fitted to moving shapes on plain, graded and striped grounds, encoded as clips by the model's VAE: clips rather
than images, since a video VAE encodes later latents otherwise than the first. It costs a few dozen small encodes, and
one matrix product per preview.
"""

from __future__ import annotations

import numpy as np
import torch

from videogen.core.frame_latent_map import FrameLatentMap

from .base import Backbone

_CLIPS, _LATENTS, _SIDE = 64, 3, 64
_RIDGE = 2.0


class LatentPreview:
    """`preview(latents [b, c, f, h, w]) -> uint8 [f, h, w, 3]` of the first clip, at latent resolution."""

    def __init__(self, backbone: Backbone) -> None:
        self._weights = _fit(backbone)

    def __call__(self, latents: torch.Tensor) -> np.ndarray:
        colours = _features(latents[0].float().cpu()) @ self._weights
        return (colours.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _features(latents: torch.Tensor) -> torch.Tensor:
    """What colours are a linear function of, [f, h, w, features], from latents [c, f, h, w]."""
    channels, height, width = latents.shape[0], *latents.shape[2:]
    frames = latents.transpose(0, 1)
    padded = torch.nn.functional.pad(frames, (1, 1, 1, 1), mode="replicate")
    near = [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3)]
    first, second = torch.triu_indices(channels, channels)
    parts = [*near, frames[:, first] * frames[:, second], torch.ones_like(frames[:, :1])]
    return torch.cat(parts, 1).permute(0, 2, 3, 1)


def _fit(backbone: Backbone) -> torch.Tensor:
    """Weights [features, 3]."""
    geometry = backbone.geometry
    latent_map = FrameLatentMap.from_geometry(geometry)
    side = max(_SIDE, geometry.multiple * 4)
    draw = np.random.default_rng(0)
    inputs, targets = [], []
    for _ in range(_CLIPS):
        frames = _draw_clip(draw, latent_map.frame_count(_LATENTS), side)
        with torch.no_grad():
            latents = backbone.encode(torch.from_numpy(frames)[None])[0].float().cpu()
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).double() / 255
        spans = (latent_map.frames_of(latent) for latent in range(latents.shape[1]))
        means = torch.stack([pixels[span.start : span.stop].mean(0) for span in spans])
        small = torch.nn.functional.adaptive_avg_pool2d(means, (latents.shape[-2], latents.shape[-1]))
        inputs.append(_features(latents).flatten(0, 2).double())
        targets.append(small.permute(0, 2, 3, 1).flatten(0, 2))
    x, y = torch.cat(inputs), torch.cat(targets)
    return torch.linalg.solve(x.T @ x + _RIDGE * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y).float()


def _draw_clip(draw: np.random.Generator, frames: int, side: int) -> np.ndarray:
    """One or two moving shapes on a ground of two colours: uint8 [frames, side, side, 3]."""
    rows, columns = np.mgrid[:side, :side].astype(float)
    angle = draw.uniform(0, 2 * np.pi)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    graded = (along - along.min()) / (along.max() - along.min())
    grounds = (np.zeros_like(rows), (columns // 8 + rows // 8) % 2, graded, columns // draw.integers(4, 12) % 2)
    dark_or_grey = draw.random() < 0.3
    colours = (
        np.repeat(draw.random((2, 1)), 3, 1) * draw.choice([0.05, 1], (2, 1)) if dark_or_grey else draw.random((2, 3))
    )
    ground = colours[0] + (colours[1] - colours[0]) * grounds[draw.integers(4)][..., None]
    clip = np.repeat(ground[None], frames, 0)
    for _ in range(draw.integers(1, 3)):
        colour = draw.random(3) if draw.random() < 0.5 else draw.integers(0, 2, 3)
        centre, speed = draw.random(2) * side, draw.uniform(-1, 1, 2) * side / 16
        radius, kind = side * draw.uniform(0.08, 0.25), draw.integers(3)
        for frame in range(frames):
            x, y = (np.abs(at - place) for at, place in zip((columns, rows), centre + speed * frame, strict=True))
            distance = (np.hypot(x, y), np.maximum(x, y), x + y)[kind]
            inside = np.clip(radius - distance + 0.5, 0, 1)[..., None]
            clip[frame] = clip[frame] * (1 - inside) + colour * inside
    return (clip.clip(0, 1) * 255).round().astype(np.uint8)
