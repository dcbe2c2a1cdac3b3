"""Segment plan: the segments of a video as a sequence that computes each one when it is read.

Its memory depends on the number of scenes and not on their length: a policy divides a scene periodically, so that a few
segments at its beginning and end describe all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import overload

from .segments import Scene, Segment

Divide = Callable[[Scene], Iterator[Segment]]
_REPEATS = 3  # strides that are compared before a scene counts as periodic


@dataclass(frozen=True)
class SceneSegments:
    """The segments of one scene.

    divided: those of the scene shortened by `skipped` strides; stride: latents between the starts of two of them. The
    segments that were skipped are copies of the second one, moved along.
    """

    scene: Scene
    divided: tuple[Segment, ...]
    skipped: int = 0
    stride: int = 0

    @classmethod
    def from_scene(cls, scene: Scene, divide: Divide) -> SceneSegments:
        """Divide a scene. One that is not periodic is divided in full."""
        first = list(islice(divide(scene), _REPEATS + 2))
        if len(first) < _REPEATS + 2:
            return cls(scene, tuple(first))
        second, third = first[1:3]
        stride, longest = third.start - second.start, max(span.stop - second.start for span in second.spans)
        # what remains is long enough that the shortened scene begins as the full one does
        skipped = (scene.stop - first[-1].stop - longest) // max(1, stride)
        periodic = all(_move(second, k * stride, scene) == segment for k, segment in enumerate(first[2:-1], 1))
        if skipped <= 0 or not periodic:
            return cls(scene, tuple(divide(scene)))
        return cls(scene, tuple(divide(replace(scene, stop=scene.stop - skipped * stride))), skipped, stride)

    def __len__(self) -> int:
        return len(self.divided) + self.skipped

    def segment(self, number: int) -> Segment:
        """The segment `number` of the scene, from 0."""
        if number <= 1 or not self.skipped:
            return _move(self.divided[number], 0, self.scene)
        if number <= 1 + self.skipped:
            return _move(self.divided[1], (number - 1) * self.stride, self.scene)
        return _move(self.divided[number - self.skipped], self.skipped * self.stride, self.scene)


class SegmentPlan(Sequence[Segment]):
    """All segments of a video, in order. divide: the segments of a scene, as `ContinuityPolicy.divide_scene`."""

    def __init__(self, scenes: Sequence[Scene], divide: Divide) -> None:
        self._scenes = [SceneSegments.from_scene(scene, divide) for scene in scenes]
        self._stops = list(accumulate(len(scene) for scene in self._scenes))

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    @overload
    def __getitem__(self, index: int) -> Segment: ...

    @overload
    def __getitem__(self, index: slice) -> list[Segment]: ...

    def __getitem__(self, index: int | slice) -> Segment | list[Segment]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]  # IndexError, and negative ones
        at = bisect_right(self._stops, number)
        before = self._stops[at - 1] if at else 0
        return replace(self._scenes[at].segment(number - before), index=number)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def _move(segment: Segment, by: int, scene: Scene) -> Segment:
    """The segment `by` latents later."""
    spans = tuple(range(span.start + by, span.stop + by) for span in segment.spans)
    return replace(segment, scene=scene, start=segment.start + by, stop=segment.stop + by, spans=spans)
