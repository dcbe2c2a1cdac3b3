"""Noise of a long video's segments: which stream and seed each latent frame's noise comes from.

A shot's latents have the noise of the shot's seed. Which kind of noise: `request.continuity_noise`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from videogen.core.randomness import address, normal
from videogen.schedulers.noise.stream import IidNoise, NoiseStream, NoiseWindow
from videogen.timeline.latent_timeline import LatentTimeline

from .segments import Scene, Segment

if TYPE_CHECKING:
    import torch

_WARMUP = 2**40  # added to a warm-up latent's address


class SegmentNoise:
    """The noise of each clip of each segment, from the streams of the shots.

    A policy whose clips share noise in another way overrides `window`. shot_stream: the stream of a shot, by number.
    """

    def __init__(self, timeline: LatentTimeline, shot_stream: Callable[[int], NoiseStream]) -> None:
        self._stream = _ShotStreams(timeline, lru_cache(maxsize=8)(shot_stream))

    def window(self, segment: Segment, number: int) -> NoiseWindow:
        """The noise of clip `number` of a segment."""
        sources = tuple(self._source(segment.scene, latent) for latent in segment.spans[number])
        return NoiseWindow(self._stream, sources)

    def regeneration_window(self, segment: Segment, slots: list[int], attempt: int) -> NoiseWindow:
        """The noise of a segment that is regenerated between its neighbours, as one clip: the shots' streams, redrawn
        in `slots`."""
        sources = [self._source(segment.scene, latent) for latent in segment.spans[0]]
        stream = _RedrawnStream(self._stream, attempt, {sources[slot] for slot in slots})
        return NoiseWindow(stream, tuple(sources))

    def redraw(self, segment: Segment, attempt: int) -> None:
        """Give the latents that a segment generates, and does not copy, an attempt's noise; attempt 0: the first
        one's."""
        generated = range(segment.start, segment.scene.stop)
        for number, clip in enumerate(segment.clips):
            window = self.window(segment, number)
            sources = [
                window.sources[slot]
                for slot in range(segment.frames)
                if slot not in clip.copied and segment.spans[number][slot] in generated
            ]
            window.stream.redraw(sources, attempt)

    def _source(self, scene: Scene, latent: int) -> int:
        """The address of a job latent's noise; a warm-up latent has one of its own."""
        return scene.video_latent(latent) + (_WARMUP if latent < scene.start + scene.warmup else 0)


class _RedrawnStream(NoiseStream):
    """Another stream with an attempt's own noise at some sources."""

    def __init__(self, stream: NoiseStream, attempt: int, redrawn: set[int]) -> None:
        super().__init__(stream.seed)
        self._stream, self._attempt, self._redrawn = stream, attempt, redrawn

    def _noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        if source not in self._redrawn:
            return self._stream.noise(source, shape)
        return normal(address(self.seed, f"redo {self._attempt}", source), shape)

    def solver_seed(self, source: int, step: int) -> int:
        if source not in self._redrawn:
            return self._stream.solver_seed(source, step)
        return address(self.seed, f"solver, redo {self._attempt}", source, step)


class _ShotStreams(NoiseStream):
    """Each latent's noise from its shot's stream. Sources are the video's latents, and warm-up latents."""

    def __init__(self, timeline: LatentTimeline, stream_of: Callable[[int], NoiseStream]) -> None:
        super().__init__(timeline.shots[0].seed)
        self._beyond = IidNoise(timeline.shots[-1].seed)
        self._timeline, self._stream_of = timeline, stream_of

    def _stream_at(self, source: int) -> NoiseStream:
        """A clip may reach beyond the video's end, where the last shot's seed continues."""
        latent = source % _WARMUP
        if latent < self._timeline.latents:
            return self._stream_of(self._timeline.index_at(latent))
        return self._beyond

    def _noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        stream = self._stream_at(source)
        return stream.noise(source if stream.is_independent else source % _WARMUP, shape)

    def noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        return self._noise(source, shape)

    def redraw(self, sources: object, attempt: int) -> None:
        for source in cast(list[int], sources):
            self._stream_at(source).redraw([source], attempt)

    def solver_seed(self, source: int, step: int) -> int:
        return self._stream_at(source).solver_seed(source, step)
