"""CoNo noise stream: the clips of each extension use the permuted noise of the clip before them (2406.05082).

Permuting the same noise again and again repeats content. `refresh` (not in the paper) mixes new noise into those frames
of a clip that are not copied, z' = sqrt(1 - refresh^2) P z + refresh xi. Copied frames use their source's noise
unchanged, otherwise the replay would follow another trajectory.
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
    """Noise of a video made of `LookBack` extensions. InputError for numbers that do not fit.

    frames, n1, n2, handover: as in `LookBack`. refresh: 0 (as in the paper) to 1 (independent noise).

    A source is a noise tensor used by one or more frames. The first clip has the sources 0 to frames - 1, followed by
    those of B, M and D of each extension, `frames` numbers each. Copied slots use the number of their source instead.
    """

    def __init__(
        self, seed: int, frames: int, n1: int, n2: int, handover: int | None = None, refresh: float = 0.0
    ) -> None:
        super().__init__(seed)
        self.plan = LookBack(frames, n1, n2, release=0, handover=handover)
        self.refresh = in_range("refresh", refresh, 0, 1)
        self._retained = math.sqrt(1 - refresh**2)
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
                value = self._retained * value + self.refresh * normal(address(self.seed, "refresh", link), shape)
                self._remember(link, shape, value)
        return value

    def _source(self, extension: int, clip: str, slot: int) -> int:
        """The source of a slot; a copied slot has that of the slot it is copied from."""
        if clip == SOURCE:
            return slot if extension == 0 else self._source(extension - 1, "D", slot)
        if slot in self._clips[clip].copied:
            return self._source(extension, self._clips[clip].noise_source, self._clips[clip].order[slot])
        return self.plan.frames * (1 + len(CLIPS) * extension + CLIPS.index(clip)) + slot

    def _parent(self, source: int) -> int:
        """The source from whose noise this one is refreshed."""
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
        """Cache noise of the last extensions only: a video read in order then has constant cost and memory."""
        self._recent[source, tuple(shape)] = value
        while len(self._recent) > 2 * len(CLIPS) * self.plan.frames:
            self._recent.popitem(last=False)
