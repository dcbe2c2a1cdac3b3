"""Part of a file that is read, and the memory that it may take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from videogen.core.errors import InputError, MediaError

from .probe import MediaLimits


@dataclass(frozen=True)
class Excerpt:
    """Frames from `start` on: `frames` of them at most, and those of the first `seconds` and the one that follows
    (None: to the end). InputError for values that are not."""

    start: int = 0
    frames: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.frames is not None and self.frames < 1):
            raise InputError(f"start={self.start}, frames={self.frames}: start must be 0 or more and frames above 0")
        if self.seconds is not None and not (self.seconds >= 0 and math.isfinite(self.seconds)):
            raise InputError(f"seconds={self.seconds} must be 0 or more")

    def is_complete(self, times_s: Sequence[float]) -> bool:
        """Whether frames at these times, the first of the excerpt, are all of it."""
        return (self.frames is not None and len(times_s) >= self.frames) or (
            self.seconds is not None and len(times_s) > 1 and times_s[-1] - times_s[0] > self.seconds
        )

    def count(self, fps: Fraction) -> int | None:
        """The most frames of a file of this rate; None: as many as it has."""
        counts = [self.frames, None if self.seconds is None else math.floor(self.seconds * fps) + 2]
        return min((count for count in counts if count is not None), default=None)

    def select(self, count: int, fps: Fraction) -> slice:
        """The excerpt of `count` frames of a constant rate."""
        most = self.count(fps)
        return slice(self.start, count if most is None else min(count, self.start + most))


class Budget:
    """The bytes of frames that a file may still decode to; a header may declare fewer than there are."""

    def __init__(self, path: Path, limits: MediaLimits) -> None:
        self._path, self._limits, self._left = path, limits, limits.decoded_bytes

    def spend(self, image: np.ndarray) -> None:
        """Count a frame; MediaError where the limit is exceeded."""
        self._left -= image.nbytes
        if self._left < 0:
            raise MediaError(
                f"{self._path} decodes to more than {self._limits.decoded_bytes / 2**30:.0f} GiB; cut or scale it first"
            )
