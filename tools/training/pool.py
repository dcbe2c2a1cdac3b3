"""A pool of encoded clips that grows while a model trains: latents are computed once and drawn many times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from tools.world import caption, sample_scene


class LatentPool:
    """Latents [c, f, h, w] of scene seeds, made by `encode(seeds) -> [n, c, f, h, w]`, kept as fp16 on the CPU."""

    def __init__(self, encode: Callable[[list[int]], torch.Tensor], first_seed: int, capacity: int) -> None:
        self._encode, self._next_seed, self._capacity = encode, first_seed, capacity
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
        self._seeds += seeds
        self._latents += list(self._encode(seeds).half().cpu())

    def draw(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[str]]:
        """Latents [count, c, f, h, w] in fp32, and a caption for each: now canonical, now a paraphrase, now none."""
        chosen = rng.integers(len(self), size=count)
        latents = torch.stack([self._latents[i] for i in chosen]).float()
        return latents, [self._caption(self._seeds[i], rng) for i in chosen]

    @staticmethod
    def _caption(seed: int, rng: np.random.Generator) -> str:
        luck = rng.random()
        if luck < 0.1:
            return ""
        return caption(sample_scene(seed), rng if luck < 0.55 else None)
