"""Look-back: each extension is three clips in lock-step, the middle one tied on both sides (CoNo, 2406.05082).

Which clip takes whose noise and copies whose predictions: `schedulers.cono.look_back`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

from videogen.core.errors import InputError, UnsupportedError
from videogen.core.randomness import address
from videogen.longvideo.segment_noise import SegmentNoise
from videogen.longvideo.segments import Scene, Segment
from videogen.request.continuity import Continuity
from videogen.schedulers.cono.look_back import MEANS, SOURCE, Clip, LookBack, look_back
from videogen.schedulers.cono.noise import ConoNoise
from videogen.schedulers.noise.stream import IidNoise, NoiseStream, NoiseWindow
from videogen.timeline.latent_timeline import LatentTimeline

from .base import ContinuityPolicy


def look_back_schedule(continuity: Continuity, clip: int, steps: int, anchor: int) -> LookBack:
    """CoNo's schedule for clips of so many latent frames. InputError where the overlap leaves no middle clip."""
    published = look_back(clip, steps, continuity.release or 0)
    n1 = continuity.overlap or published.n1
    if n1 > clip - 2:
        raise InputError(
            f"continuity: overlap={n1} leaves look_back nothing of a clip's {clip} latent frames; "
            f"use at most {clip - 2}"
        )
    return replace(
        published,
        n1=n1,
        n2=min(published.n2, clip - n1 - 1) if continuity.n2 is None else continuity.n2,
        handover=continuity.handover,
        right_release=None if continuity.right_release is None else round(continuity.right_release * steps),
        mean_of=continuity.mean_of or MEANS[0],
        anchor=anchor,
    )


class LookBackExtensions(ContinuityPolicy):
    """The first segment of a scene is a plain clip, each further one an extension."""

    copies_predictions = True

    def divide_scene(self, scene: Scene) -> Iterator[Segment]:
        plan = look_back_schedule(self.continuity, self.clip, self.steps, self.anchor)
        slots = range(plan.frames)
        stop = min(scene.start + plan.frames, scene.stop)
        yield Segment(
            index=0,
            scene=scene,
            start=scene.start,
            stop=stop,
            clips=(Clip("D", SOURCE, tuple(slots), (), SOURCE, slots),),
            spans=(range(scene.start, scene.start + plan.frames),),
            first=True,
        )
        for number in range(plan.extensions_for(scene.stop - scene.start)):
            start, stop = stop, min(scene.start + plan.length(number + 1), scene.stop)
            spans = (plan.span(clip.name, number) for clip in plan.clips)
            yield Segment(
                index=0,
                scene=scene,
                start=start,
                stop=stop,
                clips=plan.clips,
                spans=tuple(range(scene.start + span.start, scene.start + span.stop) for span in spans),
            )

    def noise(self, timeline: LatentTimeline, warped: Callable[[int], NoiseStream] | None = None) -> SegmentNoise:
        layout = look_back_schedule(self.continuity, self.clip, steps=1, anchor=0).layout

        def scene_stream(seed: int) -> ConoNoise:
            return ConoNoise(seed, **layout, refresh=self.continuity.refresh)

        return _ExtensionNoise(timeline, lambda index: self.shot_stream(timeline.shots[index].seed), scene_stream)

    def shot_stream(self, seed: int) -> NoiseStream:
        """For a segment that is regenerated between its neighbours: it is not an extension of the one before."""
        return IidNoise(seed)


class _ExtensionNoise(SegmentNoise):
    """CoNo's noise, which permutes that of the scene's first clip from extension to extension.

    The seed of a shot that does not begin a scene would have no effect: UnsupportedError. scene_stream: a scene's noise
    by its seed.
    """

    def __init__(
        self,
        timeline: LatentTimeline,
        shot_stream: Callable[[int], NoiseStream],
        scene_stream: Callable[[int], ConoNoise],
    ) -> None:
        super().__init__(timeline, shot_stream)
        _check_seeds(timeline)

        @lru_cache(maxsize=2)
        def stream_of(scene: Scene) -> ConoNoise:
            seed = timeline.shot_at(scene.video_start).seed
            return scene_stream(address(seed, "scene", scene.index) if scene.index else seed)

        self._stream_of_scene = stream_of

    def window(self, segment: Segment, number: int) -> NoiseWindow:
        stream = self._stream_of_scene(segment.scene)
        if segment.first:
            return stream.clip(SOURCE, 0)
        before = segment.spans[0].start - segment.scene.start
        extension = (before - stream.plan.frames + stream.plan.n1) // stream.plan.new_frames
        return stream.clip(segment.clips[number].name, extension)


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
