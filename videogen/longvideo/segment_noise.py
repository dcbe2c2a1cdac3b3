"""Noise of a long video's segments: which stream and seed each latent frame's noise comes from.

A shot's latents have the noise of the shot's seed. CoNo's noise permutes that of the first clip through the scene, so
that the seed of a shot which begins no scene would have no effect: it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from videogen.core.errors import UnsupportedError
from videogen.core.randomness import address, normal
from videogen.request.continuity import Continuity
from videogen.schedulers.cono.noise import ConoNoise
from videogen.schedulers.noise.stream import (
    FreeNoise,
    IidNoise,
    NoiseStream,
    NoiseWindow,
    WarpedStream,
    noise_stream,
)
from videogen.timeline.latent_timeline import LatentTimeline

from .policies.look_back import look_back_schedule
from .segments import Scene, Segment

if TYPE_CHECKING:
    import torch

_WARMUP = 2**40  # added to a warm-up latent's address


class SegmentNoise:
    """The noise of each clip of each segment. clip: latent frames that the model denoises at once; warped: the warped
    stream of a shot, by number."""

    def __init__(
        self,
        timeline: LatentTimeline,
        continuity: Continuity,
        clip: int,
        warped: Callable[[int], NoiseStream] | None = None,
    ) -> None:
        self._timeline, self._continuity, self._clip = timeline, continuity, clip
        if continuity.noise == "cono":
            _check_seeds(timeline)
        self._stream = _ShotStreams(timeline, lru_cache(maxsize=8)(warped or self._shot_stream))
        self._scene_stream = lru_cache(maxsize=2)(self._cono_stream)

    def window(self, segment: Segment, number: int) -> NoiseWindow:
        """The noise of clip `number` of a segment."""
        if self._continuity.noise == "cono":
            stream, extension = self._cono_place(segment)
            return stream.clip("A" if segment.first else segment.clips[number].name, extension)
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

    def _shot_stream(self, index: int) -> NoiseStream:
        seed = self._timeline.shots[index].seed
        if self._continuity.noise == "freenoise":
            return noise_stream("freenoise", seed, window=self._clip, stride=max(1, self._clip // 4))
        return IidNoise(seed)

    def _cono_place(self, segment: Segment) -> tuple[ConoNoise, int]:
        """(the scene's stream, the number of the extension that a segment is)."""
        before = segment.spans[0].start - segment.scene.start
        stream = self._scene_stream(segment.scene)
        return stream, 0 if segment.first else (before - stream.plan.frames + stream.plan.n1) // stream.plan.new_frames

    def _cono_stream(self, scene: Scene) -> ConoNoise:
        seed = self._timeline.shot_at(scene.video_start).seed
        layout = look_back_schedule(self._continuity, self._clip, steps=1, anchor=0).layout
        return ConoNoise(
            address(seed, "scene", scene.index) if scene.index else seed, **layout, refresh=self._continuity.refresh
        )


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
        if source >= _WARMUP and isinstance(stream, WarpedStream | FreeNoise):
            return stream.noise(source % _WARMUP, shape)
        return stream.noise(source, shape)

    def noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        return self._noise(source, shape)

    def redraw(self, sources: object, attempt: int) -> None:
        for source in cast(list[int], sources):
            self._stream_at(source).redraw([source], attempt)

    def solver_seed(self, source: int, step: int) -> int:
        return self._stream_at(source).solver_seed(source, step)


def _check_seeds(timeline: LatentTimeline) -> None:
    scene_starts = {start for start, _ in timeline.scenes()}
    scene_seed = None
    for number, shot in enumerate(timeline.shots, 1):
        scene_seed = shot.seed if shot.start in scene_starts else scene_seed
        if shot.seed != scene_seed:
            raise UnsupportedError(
                f"shot {number}'s seed={shot.seed} has no effect under continuity look_back, whose clips permute the "
                "noise of the scene's first; leave it out, begin the shot with a cut, or use another continuity"
            )
