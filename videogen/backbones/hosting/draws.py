"""Random draws of a hosted pipeline: answered from addressed noise, or left to its own generator.

A pipeline draws the initial noise of its latents, samples of VAE posteriors, noise on a condition, and what its solver
adds at each step. With `noise="diffusers"` they come from one generator per sample in the pipeline's order. Otherwise
each draw has an address: the initial noise is that of every other model, frame by frame; the others are numbered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from videogen.core.randomness import address, normal, uniform
from videogen.schedulers.noise.source import DiffusersNoise, NoiseSource

from .layout import Layout

_DRAWS: dict[Any, Callable[[int, Sequence[int]], torch.Tensor]] = {torch.randn: normal, torch.rand: uniform}


class Draws:
    """Random numbers of one hosted run. sources: one per sample; noise: layout [b, c, f, h, w] of the initial noise;
    noise_draw: which draw of a sample it is, from 0; where that has another size, such as an image's, the next that has
    the noise's."""

    def __init__(self, sources: Sequence[NoiseSource], noise: Layout, noise_draw: int) -> None:
        self._sources, self._noise, self._noise_draw = sources, noise, noise_draw
        self.own = all(isinstance(source, DiffusersNoise) for source in sources)
        self._generators = [
            source.generators(0, 1)[0] if self.own else torch.Generator().manual_seed(0) for source in sources
        ]
        self._counts = [0] * len(sources)
        self._has_noise = [False] * len(sources)
        self._step: int | None = None

    @property
    def generator(self) -> torch.Generator | list[torch.Generator]:
        """As a pipeline takes it: one generator, or one per sample."""
        return self._generators[0] if len(self._generators) == 1 else self._generators

    def answering(self) -> AbstractContextManager[object]:
        """Entered in the pipeline's thread, where its draws are answered."""
        return nullcontext() if self.own else _AnsweredDraws(self._answer)

    def begin_step(self, index: int) -> None:
        """Draws from here on belong to this model call."""
        self._step = index
        self._counts = [0] * len(self._counts)

    def save(self) -> object:
        return [generator.get_state() for generator in self._generators] if self.own else None

    def restore(self, saved: Any) -> None:
        for generator, state in zip(self._generators, saved or (), strict=False):
            generator.set_state(state)

    def _answer(self, kind: Any, generator: torch.Generator, shape: Sequence[int]) -> torch.Tensor | None:
        """The values of a draw, fp32 on the CPU; None for a generator that is not ours."""
        sample = next((k for k, own in enumerate(self._generators) if own is generator), None)
        if sample is None:
            return None
        number, self._counts[sample] = self._counts[sample], self._counts[sample] + 1
        source = self._sources[sample]
        if kind is torch.randn and self._step is None and number >= self._noise_draw and not self._has_noise[sample]:
            self._has_noise[sample] = self._noise.has_size_of(shape)
            if self._has_noise[sample]:
                return self._initial_noise(source, shape)
        if kind is torch.randn and self._step is not None and self._noise.has_full_frames(shape):
            return self._step_noise(source, shape, self._step, number)
        step = -1 if self._step is None else self._step
        seed = address(_seed_of(source), f"pipeline:{number}", 0, step)
        return _DRAWS[kind](seed, shape)

    def _initial_noise(self, source: NoiseSource, shape: Sequence[int]) -> torch.Tensor:
        """The noise of each latent frame; frames or tokens of conditions next to the video's are numbered. A draw that
        is not in the row's layout, which one workflow of the pipeline packs, is [b, c, f, h, w]."""
        layout = self._noise.with_extras_of(shape) if self._noise.fits(shape) else Layout()
        batch, channels, frames, height, width = layout.video_shape(shape)
        assert batch == 1, "one generator draws one sample"
        video = source.frames(range(frames), (channels, height, width))
        extras = normal(address(_seed_of(source), "pipeline:lead"), shape) if layout.has_extras else None
        return layout.from_video(video, extras)

    def _step_noise(self, source: NoiseSource, shape: Sequence[int], step: int, number: int) -> torch.Tensor:
        """Noise that a solver adds, each frame's by its own generator, as solvers of the engine's own models."""
        _, channels, frames, height, width = self._noise.video_shape(shape)
        drawn = [
            torch.randn((channels, height, width), generator=_advance(generator, number, (channels, height, width)))
            for generator in source.generators(step, frames)
        ]
        return self._noise.from_video(torch.stack(drawn, 1)[None])


def _advance(generator: torch.Generator, number: int, shape: Sequence[int]) -> torch.Generator:
    """The generator after `number` draws of this shape."""
    for _ in range(number):
        torch.randn(tuple(shape), generator=generator)
    return generator


def _seed_of(source: NoiseSource) -> int:
    """A number that stands for the source: draws with no frames of their own are addressed by it."""
    return int(source.generators(-1, 1)[0].initial_seed())


class _AnsweredDraws(TorchFunctionMode):
    """Answers `torch.randn` and `torch.rand` with a generator."""

    def __init__(self, answer: Callable[[Any, torch.Generator, Sequence[int]], torch.Tensor | None]) -> None:
        super().__init__()
        self._answer = answer

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if generator is None or function not in _DRAWS:
            return function(*args, **kwargs)
        sizes = kwargs.get("size", args[0] if len(args) == 1 and not isinstance(args[0], int) else args)
        with torch._C.DisableTorchFunction():
            values = self._answer(function, generator, tuple(sizes))
        if values is None:
            return function(*args, **kwargs)
        return values.to(kwargs.get("device") or "cpu", kwargs.get("dtype") or torch.get_default_dtype())
