"""Pools of encoded clips that grow while a model trains: latents are computed once and drawn many times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from tools.world import Scene, caption, sample_scene, without_motion
from tools.world.texture import SceneMaps
from videogen.schedulers import warped_noise

from .formats import Format


class LatentPool:
    """Latents [c, f, h, w] of scene seeds, made by `encode(seeds) -> [n, c, f, h, w]`, kept as fp16 on the CPU."""

    def __init__(
        self,
        encode: Callable[[list[int]], torch.Tensor],
        first_seed: int,
        capacity: int,
        scenes: Callable[[int], Scene] = sample_scene,
    ) -> None:
        self._encode, self._next_seed, self._capacity, self._scenes = encode, first_seed, capacity, scenes
        self._seeds: list[int] = []
        self._latents: list[torch.Tensor] = []

    def __len__(self) -> int:
        return len(self._seeds)

    def skip(self, count: int) -> None:
        """A resumed run goes on with scenes that it has not seen."""
        self._next_seed += count

    def grow(self, count: int) -> None:
        if len(self) >= self._capacity or count < 1:
            return
        seeds = list(range(self._next_seed, self._next_seed + count))
        self._next_seed += count
        self._latents += list(self._encode(seeds).half().cpu())
        self._seeds += seeds

    def draw(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[str]]:
        """Latents [count, c, f, h, w] in fp32, and a caption for each: now canonical, now a paraphrase, now none."""
        chosen = rng.integers(len(self), size=count)
        latents = torch.stack([self._latents[i] for i in chosen]).float()
        return latents, [worded(self._scenes(self._seeds[i]), rng) for i in chosen]


class WarpedPool(LatentPool):
    """Clips with noise that moves as they do, by the scene's exact maps."""

    def __init__(
        self,
        encode: Callable[[list[int]], torch.Tensor],
        form: Format,
        first_seed: int,
        capacity: int,
        scenes: Callable[[int], Scene],
    ) -> None:
        super().__init__(encode, first_seed, capacity, scenes)
        self._form = form
        self._noise: list[torch.Tensor] = []

    def grow(self, count: int) -> None:
        before = len(self)
        super().grow(count)
        for seed, latents in zip(self._seeds[before:], self._latents[before:], strict=True):
            self._noise.append(scene_noise(self._scenes(seed), self._form, len(latents), seed).half())

    def draw_warped(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[str], torch.Tensor]:
        """Latents, captions (half of them silent about motion), and noise [count, c, f, h, w] of full strength.

        Each draw mixes the channels of a clip's one noise by a new random rotation: as white, as coherent, and never the same.
        """
        chosen = rng.integers(len(self), size=count)
        latents = torch.stack([self._latents[i] for i in chosen]).float()
        scenes = [self._scenes(self._seeds[i]) for i in chosen]
        captions = [worded(without_motion(scene) if rng.random() < 0.5 else scene, rng) for scene in scenes]
        noise = torch.stack([_rotated(self._noise[i].float(), rng) for i in chosen])
        return latents, captions, noise


def scene_noise(scene: Scene, form: Format, channels: int, seed: int) -> torch.Tensor:
    """Warped noise [c, f, h, w] of a scene, its things' layers marked now exactly, now loosely."""
    rng = np.random.default_rng((seed, 8))
    maps = SceneMaps(
        scene, form.frames, form.size, stride=form.stride, margin=rng.uniform(0, 0.35), disc=bool(rng.random() < 0.6)
    )
    return warped_noise(maps, channels=channels, seed=seed)[0]


def worded(scene: Scene, rng: np.random.Generator) -> str:
    """A caption: now canonical, now a paraphrase, now none."""
    luck = rng.random()
    if luck < 0.1:
        return ""
    return caption(scene, rng if luck < 0.55 else None)


def _rotated(noise: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    channels = noise.shape[0]
    rotation, _ = np.linalg.qr(rng.standard_normal((channels, channels)))
    return torch.einsum("dc,cfhw->dfhw", torch.from_numpy(rotation).float(), noise)
