"""Pools of encoded clips that grow while a model trains: latents are computed once and drawn many times."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numpy as np
import torch

from tools.world import Scene, caption, sample_scene, without_motion
from tools.world.texture import SceneMaps
from videogen.schedulers import warped_noise

from .formats import Format
from .scenes import Succession, succession

P = ParamSpec("P")
T = TypeVar("T")


def in_fp32(method: Callable[P, T]) -> Callable[P, T]:
    """Without autocast: data stays in fp32 while the model trains in bf16. One guard per method, as it cannot nest."""
    return cast(Callable[P, T], torch.autocast("cpu", enabled=False)(method))


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

    @in_fp32
    def grow(self, count: int) -> None:
        if len(self) >= self._capacity or count < 1:
            return
        seeds = list(range(self._next_seed, self._next_seed + count))
        self._next_seed += count
        self._latents += list(self._encode(seeds).half().cpu())
        self._seeds += seeds

    @in_fp32
    def draw(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[str]]:
        """Latents [count, c, f, h, w] in fp32, and a caption for each: now canonical, now a paraphrase, now none."""
        chosen = rng.integers(len(self), size=count)
        latents = torch.stack([self._latents[i].float() for i in chosen])
        return latents, [worded(self._scenes(self._seeds[i]), rng) for i in chosen]


class LastingPool(LatentPool):
    """Clips longer than the model's, for it to go on from what it is shown of them.

    What would leave the picture turns round, and its caption stays: what is shown tells where a thing is going, words
    how it moves.
    """

    def __init__(
        self,
        encode: Callable[[list[Succession]], torch.Tensor],
        first_seed: int,
        capacity: int,
        *,
        whole: int,
        window: int,
        shown: int,
    ) -> None:
        """Latent frames: of the clips, of the model's, and the most that are shown."""
        self._window, self._shown, self._last = window, shown, whole - window
        super().__init__(lambda seeds: encode([self._story(seed) for seed in seeds]), first_seed, capacity)

    def _story(self, seed: int) -> Succession:
        return succession(seed, self._shown, self._last)

    @in_fp32
    def draw_windows(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[str], torch.Tensor]:
        """Latents [count, c, f, h, w] from anywhere in the clips, captions, and which frames are shown, bool [count,
        f].

        Where a world turns into another, what is shown ends there, and the caption is of what follows.
        """
        windows, captions, shown = [], [], rng.integers(1, self._shown + 1, size=count)
        for index, frames in zip(rng.integers(len(self), size=count), shown, strict=True):
            story = self._story(self._seeds[index])
            begin = story.at - frames if story.changes else rng.integers(self._last + 1)
            windows.append(self._latents[index][:, begin : begin + self._window].float())
            captions.append(worded(story.after, rng))
        return torch.stack(windows), captions, torch.arange(self._window)[None] < torch.from_numpy(shown)[:, None]


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
        self._motion: list[torch.Tensor] = []

    @in_fp32
    def grow(self, count: int) -> None:
        before = len(self)
        super().grow(count)
        for seed, latents in zip(self._seeds[before:], self._latents[before:], strict=True):
            maps = scene_maps(self._scenes(seed), self._form, seed)
            self._noise.append(warped_noise(maps, channels=len(latents), seed=seed)[0].half())
            self._motion.append(latent_motion(maps).half())

    @in_fp32
    def draw_warped(
        self, count: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, list[str], torch.Tensor, torch.Tensor]:
        """Latents, captions (half of them silent about motion), noise [count, c, f, h, w] of full strength, and its
        `latent_motion`.

        Each draw mixes the channels of a clip's one noise by a new random rotation: as white, as coherent, and never
        the same.
        """
        chosen = rng.integers(len(self), size=count)
        latents = torch.stack([self._latents[i].float() for i in chosen])
        scenes = [self._scenes(self._seeds[i]) for i in chosen]
        captions = [worded(without_motion(scene) if rng.random() < 0.5 else scene, rng) for scene in scenes]
        noise = torch.stack([_rotated(self._noise[i].float(), rng) for i in chosen])
        return latents, captions, noise, torch.stack([self._motion[i].float() for i in chosen])


def scene_maps(scene: Scene, form: Format, seed: int) -> SceneMaps:
    """The motion that a scene's noise follows, its things' layers marked now exactly, now loosely."""
    rng = np.random.default_rng((seed, 8))
    return SceneMaps(
        scene, form.frames, form.size, stride=form.stride, margin=rng.uniform(0, 0.35), disc=bool(rng.random() < 0.6)
    )


def latent_motion(maps: SceneMaps, spatial: int = 8, temporal: int = 4) -> torch.Tensor:
    """[3, f, h, w] at latent size: the share of things' layers, and where the place moves by the next latent frame (dx,
    dy in px).

    The last frame's motion is that since the one before.
    """
    pixels = (torch.arange(0, maps.width, 2) + 1.0).numpy()  # every second pixel is enough
    xs, ys = np.meshgrid(pixels, pixels[: maps.height // 2])
    last, frames = maps.frames - 1, range(0, maps.frames, temporal)
    found = np.stack([maps.motion(f, temporal if f + temporal <= last else -temporal, xs, ys) for f in frames], 1)
    fine = torch.from_numpy(found).float()
    return torch.nn.functional.avg_pool2d(fine, spatial // 2)


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
