"""CoNo's noise as a stream: each extension's clips take the noise of the clip before them, permuted (2406.05082;
`cono`).

For ever permuting a clip's noises repeats what they show; `refresh` (not the paper's) mixes new noise into the frames
of each clip that are not guided, z' = sqrt(1 - refresh^2) P z + refresh xi. Guided frames take their source's noise as
it is, or the replay would follow another trajectory.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from videogen.core.checks import in_range
from videogen.core.errors import unknown
from videogen.core.randomness import address, normal
from videogen.schedulers.noise.stream import NoiseStream, NoiseWindow

from .look_back import CLIPS, SOURCE, LookBack

if TYPE_CHECKING:
    import torch


class ConoNoise(NoiseStream):
    """The noise of a video made by `LookBack` extensions. InputError for numbers that do not fit.

    frames, n1, n2, handover: of `LookBack`. refresh: 0 (the paper's) to 1 (all new).

    A source is one noise that some frames share. The first clip's are 0 to frames - 1; then come those of each
    extension's B, M and D, `frames` numbers each, of which guided slots use none: they have their source's.
    """

    def __init__(
        self, seed: int, frames: int, n1: int, n2: int, handover: int | None = None, refresh: float = 0.0
    ) -> None:
        super().__init__(seed)
        self.plan = LookBack(frames, n1, n2, release=0, handover=handover)
        self.refresh = in_range("refresh", refresh, 0, 1)
        self._kept = math.sqrt(1 - refresh**2)
        self._clips = {clip.name: clip for clip in self.plan.clips}
        self._recent: OrderedDict[tuple[int, tuple[int, ...]], torch.Tensor] = OrderedDict()

    def source(self, frame: int) -> int:
        extension, clip, slot = self.plan.place(frame)
        return self._source(extension, clip, slot)

    def clip(self, name: str, extension: int) -> NoiseWindow:
        """The `NoiseSource` of clip B, M or D of an extension (counted from 0); A of extension 0 is the first clip."""
        if name not in (SOURCE, *CLIPS):
            raise unknown("clip of an extension", name, (SOURCE, *CLIPS))
        return NoiseWindow(self, tuple(self._source(extension, name, slot) for slot in range(self.plan.frames)))

    def _noise(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        chain = [source]
        while not self._is_known(chain[-1], shape):
            chain.append(self._parent(chain[-1]))
        value = self._known(chain.pop(), shape)
        for link in reversed(chain):
            if self.refresh:
                value = self._kept * value + self.refresh * normal(address(self.seed, "refresh", link), shape)
                self._remember(link, shape, value)
        return value

    def _source(self, extension: int, clip: str, slot: int) -> int:
        """Follow a guided slot to the one whose noise it has."""
        if clip == SOURCE:
            return slot if extension == 0 else self._source(extension - 1, "D", slot)
        if slot in self._clips[clip].guided:
            return self._source(extension, self._clips[clip].noise_source, self._clips[clip].order[slot])
        return self.plan.frames * (1 + len(CLIPS) * extension + CLIPS.index(clip)) + slot

    def _parent(self, source: int) -> int:
        """The source whose noise this one refreshes."""
        clips, slot = divmod(source - self.plan.frames, self.plan.frames)
        extension, index = divmod(clips, len(CLIPS))
        clip = self._clips[CLIPS[index]]
        return self._source(extension, clip.noise_source, clip.order[slot])

    def _is_known(self, source: int, shape: Sequence[int]) -> bool:
        return source < self.plan.frames or source in self._attempts or (source, tuple(shape)) in self._recent

    def _known(self, source: int, shape: Sequence[int]) -> torch.Tensor:
        if source in self._attempts:
            return self.noise(source, shape)
        if source < self.plan.frames:
            return normal(address(self.seed, "initial", source), shape)
        self._recent.move_to_end((source, tuple(shape)))
        return self._recent[source, tuple(shape)]

    def _remember(self, source: int, shape: Sequence[int], value: torch.Tensor) -> None:
        """Of the last extension's frames only: a video read in order then costs the same everywhere, and no more
        memory."""
        self._recent[source, tuple(shape)] = value
        while len(self._recent) > 2 * len(CLIPS) * self.plan.frames:
            self._recent.popitem(last=False)
