"""Look-back: each extension is three clips in lock-step, the middle one tied on both sides (CoNo, 2406.05082).

Which clip takes whose noise and copies whose predictions: `schedulers.cono.look_back`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from videogen.core.errors import InputError
from videogen.longvideo.segments import Scene, Segment
from videogen.request.continuity import Continuity
from videogen.schedulers.cono.look_back import SOURCE, Clip, LookBack, look_back

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
    return replace(published, n1=n1, n2=min(published.n2, clip - n1 - 1), anchor=anchor)


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
