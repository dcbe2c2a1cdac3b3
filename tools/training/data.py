"""Training clips and captions of the procedural world as tensors: a pure function of the seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from tools.world import Scene, caption, render, render_change, sample_scene
from tools.world.geometry import CLIP_FRAMES

from .scenes import SceneChange


@dataclass(frozen=True)
class Batch:
    """pixels [b, 3, f, h, w] in -1..1; weight [b, 1, f, h, w], higher where an object is; captions, b of them."""

    pixels: torch.Tensor
    weight: torch.Tensor
    captions: list[str]


def clips(
    seeds: list[int],
    frames: int,
    size: int,
    *,
    stride: float = 1,
    full: bool = False,
    spread: int = 0,
    device: str = "cpu",
    scenes: Callable[[int], Scene] = sample_scene,
) -> Batch:
    """Training clips of `scenes(seed)`. Windows start anywhere in the world's 33 frames; with `full`, at the beginning,
    or up to `spread` world frames before or after it."""
    pixels, weights, captions = [], [], []
    for seed in seeds:
        rng = np.random.default_rng((seed, 9))
        scene = scenes(seed)
        last = CLIP_FRAMES - (frames - 1) * stride
        start = int(rng.integers(-spread, spread + 1)) if full else int(rng.integers(max(1, int(last))))
        clip = render(scene, frames, size, stride=stride, start=start)
        pixels.append(clip.frames)
        weights.append(clip.masks.max(0))
        captions.append(caption(scene, rng if rng.random() < 0.6 else None))
    frames_bfhwc = torch.from_numpy(np.stack(pixels)).to(device)
    weight = torch.from_numpy(np.stack(weights)).to(device).unsqueeze(1)
    return Batch(frames_bfhwc.permute(0, 4, 1, 2, 3).float() / 127.5 - 1, weight, captions)


def long_clips(
    changes: list[SceneChange], frames: int, size: int, *, stride: float, at: Callable[[int], int], device: str
) -> torch.Tensor:
    """Pixels [b, 3, f, h, w] in -1..1 of endless worlds. at: the first frame of a given latent frame."""
    rendered = [
        render_change(c.before, c.after, frames, size, at=at(c.at), stride=stride, start=c.start).frames
        for c in changes
    ]
    return torch.from_numpy(np.stack(rendered)).to(device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def psnr_db(result: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """PSNR of each sample, for values in -1..1."""
    error = (result.clamp(-1, 1) - target).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp_min(1e-10))
