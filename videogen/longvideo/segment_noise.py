"""The noise of a long video by its timeline: which stream each latent frame's noise comes from, and with which seed.

Every shot's latents have the noise of its seed. CoNo's permutes the first clip's noise through a whole scene, so a seed
of a shot that begins no scene would have no effect there and is refused.
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

from .segments import Scene, Segment, look_back_of

if TYPE_CHECKING:
    import torch

_LEAD = 2**40  # added to the address of a latent that leads in a scene


class StoryNoise:
    """The `NoiseSource` of each clip of each segment. seed: of shots that have none; warped: the stream of a shot, by
    number."""

    def __init__(
        self,
        shown: LatentTimeline,
        continuity: Continuity,
        clip: int,
        warped: Callable[[int], NoiseStream] | None = None,
    ) -> None:
        self._shown, self._continuity, self._clip = shown, continuity, clip
        if continuity.noise == "cono":
            _check_seeds(shown)
        self._stream = _Shots(shown, lru_cache(maxsize=8)(warped or self._of_shot))
        self._cono = lru_cache(maxsize=2)(self._of_scene)

    def of(self, segment: Segment, number: int) -> NoiseWindow:
        """The noise of clip `number` of a segment."""
        if self._continuity.noise == "cono":
            stream, extension = self._place(segment)
            return stream.clip("A" if segment.first else segment.clips[number].name, extension)
        return NoiseWindow(self._stream, tuple(self._source(segment.scene, latent) for latent in segment.spans[number]))

    def between(self, segment: Segment, free: list[int], attempt: int) -> NoiseWindow:
        """A segment made again between its neighbours: its one clip's noise, of the shots' streams, drawn anew in the
        slots `free`."""
        sources = [self._source(segment.scene, latent) for latent in segment.spans[0]]
        return NoiseWindow(_Again(self._stream, attempt, {sources[slot] for slot in free}), tuple(sources))

    def _source(self, scene: Scene, latent: int) -> int:
        """A lead has an address of its own."""
        return scene.video_latent(latent) + (_LEAD if latent < scene.start + scene.lead else 0)

    def redraw(self, segment: Segment, attempt: int) -> None:
        """Give what the segment makes anew, not what it copies, an attempt's own noise; 0: the usual."""
        for number, clip in enumerate(segment.clips):
            copied = {slot for guide in clip.guides for slot in guide.slots}
            window = self.of(segment, number)
            anew = range(segment.start, segment.scene.stop)
            free = [
                window.sources[slot]
                for slot in range(segment.frames)
                if slot not in copied and segment.spans[number][slot] in anew
            ]
            window.stream.redraw(free, attempt)

    def _of_shot(self, index: int) -> NoiseStream:
        seed = self._shown.shots[index].seed
        if self._continuity.noise == "freenoise":
            return noise_stream("freenoise", seed, window=self._clip, stride=max(1, self._clip // 4))
        return IidNoise(seed)

    def _place(self, segment: Segment) -> tuple[ConoNoise, int]:
        before = segment.spans[0].start - segment.scene.start
        stream = self._cono(segment.scene)
        return stream, 0 if segment.first else (before - stream.plan.frames + stream.plan.n1) // stream.plan.new_frames

    def _of_scene(self, scene: Scene) -> ConoNoise:
        seed = self._shown.shot_at(scene.shown).seed
        layout = look_back_of(self._continuity, self._clip, steps=1, anchor=0).layout
        return ConoNoise(
            address(seed, "scene", scene.index) if scene.index else seed, **layout, refresh=self._continuity.refresh
        )


class _Again(NoiseStream):
    """Another stream, but for some sources, whose noise is an attempt's own."""

    def __init__(self, stream: NoiseStream, attempt: int, anew: set[int]) -> None:
        super().__init__(stream.seed)
        self._stream, self._attempt, self._anew = stream, attempt, anew

    def _noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        if source not in self._anew:
            return self._stream.noise(source, shape)
        return normal(address(self.seed, f"redo {self._attempt}", source), shape)

    def solver_seed(self, source: int, step: int) -> int:
        if source not in self._anew:
            return self._stream.solver_seed(source, step)
        return address(self.seed, f"solver, redo {self._attempt}", source, step)


class _Shots(NoiseStream):
    """Each latent frame's noise from its shot's stream. Sources are the video's latent frames."""

    def __init__(self, shown: LatentTimeline, stream_of: Callable[[int], NoiseStream]) -> None:
        super().__init__(shown.shots[0].seed)
        self._beyond = IidNoise(shown.shots[-1].seed)
        self._shown, self._stream_of = shown, stream_of

    def _at(self, source: int) -> NoiseStream:
        """A clip may reach past the video's end: it goes on with the last shot's seed."""
        latent = source % _LEAD
        if latent < self._shown.latents:
            return self._stream_of(self._shown.index_at(latent))
        return self._beyond

    def _noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        stream = self._at(source)
        if source >= _LEAD and isinstance(stream, WarpedStream | FreeNoise):
            return stream.noise(source % _LEAD, shape)
        return stream.noise(source, shape)

    def noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        return self._noise(source, shape)

    def redraw(self, sources: object, attempt: int) -> None:
        for source in cast(list[int], sources):
            self._at(source).redraw([source], attempt)

    def solver_seed(self, source: int, step: int) -> int:
        return self._at(source).solver_seed(source, step)


def _check_seeds(shown: LatentTimeline) -> None:
    begun = {start for start, _ in shown.scenes()}
    first = None
    for number, shot in enumerate(shown.shots, 1):
        first = shot.seed if shot.start in begun else first
        if shot.seed != first:
            raise UnsupportedError(
                f"shot {number}'s seed={shot.seed} has no effect under continuity look_back, whose clips permute the noise of the "
                "scene's first; leave it out, begin the shot with a cut, or use another continuity"
            )
