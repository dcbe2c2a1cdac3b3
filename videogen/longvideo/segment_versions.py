"""Versions of a scene's segments: which latents each is decoded after, so that regenerating one segment leaves the
frames of all others as they were.

A causal decoder's frames depend on the latents before them. So a version of a segment is always decoded after the
versions that preceded it when it was rendered (its *chain*), not after those that the video shows now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .journal.journal import Journal
from .journal.records import SegmentRecord
from .segments import Segment

#: Version numbers of a scene's segments, from the scene's first on.
Chain = tuple[int, ...]


@dataclass
class SceneVersions:
    """The versions of one scene's segments. journal: where they are stored; None for a video in memory."""

    segments: Sequence[Segment]
    journal: Journal | None

    @classmethod
    def of_scene(cls, segments: Sequence[Segment], segment: Segment, journal: Journal | None) -> SceneVersions:
        """Of the scene of one of a video's segments."""
        return cls([one for one in segments if one.scene.index == segment.scene.index], journal)

    @property
    def current(self) -> Chain:
        """Which version of each segment the video shows."""
        return tuple(self._current(segment.index) for segment in self.segments)

    def chains(self) -> list[Chain]:
        """The chain of each segment as it is current, itself included. Segments that are still to come continue those
        that are current."""
        return [
            (*self._before(number), version) if self._is_done(segment.index) else self.current[: number + 1]
            for number, (segment, version) in enumerate(zip(self.segments, self.current, strict=True))
        ]

    def follows(self, index: int) -> dict[str, Any]:
        """What the state of a segment that is rendered now records of the regenerated ones before it: pairs of index
        and version; nothing where there are none."""
        before = [(segment.index, self._current(segment.index)) for segment in self.segments if segment.index < index]
        found = [[at, version] for at, version in before if version]
        return {"follows": found} if found else {}

    def latents(self, index: int, version: int, current: SegmentRecord) -> torch.Tensor:
        """The latents of a version of a segment, of which `current` is the one in the video."""
        if self.journal is None or version == self._current(index):
            return current.latents
        return self.journal.read_version(index, version).latents

    def _before(self, number: int) -> Chain:
        """The versions that the current version of the scene's segment `number` was rendered after."""
        assert self.journal is not None
        follows = dict(self.journal.state(self.segments[number].index).get("follows", ()))
        before = (segment.index for segment in self.segments[:number])
        return tuple(self._available(index, follows.get(index, 0)) for index in before)

    def _available(self, index: int, version: int) -> int:
        """The version, or the oldest one where an earlier version of this program did not store it."""
        assert self.journal is not None
        stored = {*self.journal.versions(index), self._current(index)}
        return version if version in stored else min(stored)

    def _current(self, index: int) -> int:
        return int(self.journal.state(index).get("redone", 0)) if self.journal and self._is_done(index) else 0

    def _is_done(self, index: int) -> bool:
        return self.journal is not None and index < len(self.journal)
