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
from .scenes import SceneChange, sample_change

P = ParamSpec("P")
T = TypeVar("T")


def in_fp32(method: Callable[P, T]) -> Callable[P, T]:
    """Without autocast: data stays in fp32 while the model trains in bf16. One guard per method, as it cannot nest."""
    return cast(Callable[P, T], torch.autocast("cpu", enabled=False)(method))


class LatentPool:
    """Latents [c, f, h, w] per scene seed, from `encode(seeds) -> [n, c, f, h, w]`, stored in fp16 on the CPU."""

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
        """Leave out the scenes of the next `count` seeds, which a resumed run has already used."""
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
        """Latents [count, c, f, h, w] in fp32, with a `random_caption` each."""
        chosen = rng.integers(len(self), size=count)
        latents = torch.stack([self._latents[i].float() for i in chosen])
        return latents, [random_caption(self._scenes(self._seeds[i]), rng) for i in chosen]


class ContinuationPool(LatentPool):
    """Clips longer than the model's, from which it learns to continue a clean prefix.

    Objects that would leave the frame turn round while their caption stays the same: the prefix shows where an object
    is going, the caption describes how it moves.
    """

    def __init__(
        self,
        encode: Callable[[list[SceneChange]], torch.Tensor],
        first_seed: int,
        capacity: int,
        *,
        length: int,
        window: int,
        prefix: int,
    ) -> None:
        """In latent frames: length of the clips, the model's length (window), and the longest prefix."""
        self._window, self._prefix, self._last = window, prefix, length - window
        super().__init__(lambda seeds: encode([self._change(seed) for seed in seeds]), first_seed, capacity)

    def _change(self, seed: int) -> SceneChange:
        return sample_change(seed, self._prefix, self._last)

    @in_fp32
    def draw_windows(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[str], torch.Tensor]:
        """Latents [count, c, f, h, w] from anywhere in the clips, captions, and which frames are the clean prefix, bool
        [count, f].

        If a world changes, the prefix ends there, and the caption describes what follows.
        """
        windows, captions, prefixes = [], [], rng.integers(1, self._prefix + 1, size=count)
        for index, prefix in zip(rng.integers(len(self), size=count), prefixes, strict=True):
            change = self._change(self._seeds[index])
            start = change.at - prefix if change.changes else rng.integers(self._last + 1)
            windows.append(self._latents[index][:, start : start + self._window].float())
            captions.append(random_caption(change.after, rng))
        return torch.stack(windows), captions, torch.arange(self._window)[None] < torch.from_numpy(prefixes)[:, None]


class WarpedPool(LatentPool):
    """Clips with warped noise that follows their motion, by the scene's exact maps."""

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
        """Latents, captions (half of them without motion), noise [count, c, f, h, w] of full strength, and its
        `latent_motion`.

        Each draw rotates the channels of a clip's noise at random, which changes the noise but neither its whiteness
        nor its coherence.
        """
        chosen = rng.integers(len(self), size=count)
        latents = torch.stack([self._latents[i].float() for i in chosen])
        scenes = [self._scenes(self._seeds[i]) for i in chosen]
        captions = [random_caption(without_motion(scene) if rng.random() < 0.5 else scene, rng) for scene in scenes]
        noise = torch.stack([_rotate_channels(self._noise[i].float(), rng) for i in chosen])
        return latents, captions, noise, torch.stack([self._motion[i].float() for i in chosen])


def scene_maps(scene: Scene, form: Format, seed: int) -> SceneMaps:
    """Maps for warping noise by a scene's motion, with its objects marked tightly or loosely, as users would."""
    rng = np.random.default_rng((seed, 8))
    return SceneMaps(
        scene, form.frames, form.size, stride=form.stride, margin=rng.uniform(0, 0.35), disc=bool(rng.random() < 0.6)
    )


def latent_motion(maps: SceneMaps, spatial: int = 8, temporal: int = 4) -> torch.Tensor:
    """[3, f, h, w] at latent size: the objects' coverage, and the motion up to the next latent frame (dx, dy in px).

    The last frame's motion is that since the previous one.
    """
    pixels = (torch.arange(0, maps.width, 2) + 1.0).numpy()  # every second pixel is enough
    xs, ys = np.meshgrid(pixels, pixels[: maps.height // 2])
    last, frames = maps.frames - 1, range(0, maps.frames, temporal)
    found = np.stack([maps.motion(f, temporal if f + temporal <= last else -temporal, xs, ys) for f in frames], 1)
    fine = torch.from_numpy(found).float()
    return torch.nn.functional.avg_pool2d(fine, spatial // 2)


def random_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption at random: canonical, a paraphrase, or none (for classifier-free guidance)."""
    luck = rng.random()
    if luck < 0.1:
        return ""
    return caption(scene, rng if luck < 0.55 else None)


def _rotate_channels(noise: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    channels = noise.shape[0]
    rotation, _ = np.linalg.qr(rng.standard_normal((channels, channels)))
    return torch.einsum("dc,cfhw->dfhw", torch.from_numpy(rotation).float(), noise)
