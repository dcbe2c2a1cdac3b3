"""A long clip judged while it is made: seams, drift, repetition and freezing, in memory that holds no more than a few
frames.

    meter = LongClip(fps=16, window=33, beat=4)
    for chunk in chunks:
        meter.add(chunk.frames, joins=not chunk.begins_with_a_cut)      # uint8 [n, h, w, 3]
    report = meter.report()

What grows with length is one figure for each pair of frames; thumbnails and segments become coarser instead.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from videogen.core.errors import InputError

from .drift import Drift, Interval, describe, drift, joined, strayed
from .frame_statistics import check_clip
from .freeze import Freeze, changes, freeze
from .repetition import REPETITION_LIMIT, Repetition, likeness, repetition, thumbnails
from .seams import Seam, least, reach, seam

SEGMENT_S = 1.0
_MOST_THUMBNAILS, _MOST_SEGMENTS = 4096, 512  # both even


@dataclass(frozen=True)
class LongClipReport:
    """A clip's figures. drift: the worst of its shots. drift, repetition: None where the clip is too short to show
    them."""

    frames: int
    seams: tuple[Seam, ...]
    freeze: Freeze
    drift: Drift | None
    repetition: Repetition | None
    beat: int = 1

    @property
    def ratios(self) -> list[float]:
        """The seam ratio of each place where chunks meet. Joins a beat apart are one place, a cross-fade, which is as
        bad as its worst."""
        found: list[float] = []
        last = None
        for one in sorted(self.seams, key=lambda one: one.frame):
            if last is not None and one.frame - last == self.beat:
                found[-1] = max(found[-1], one.ratio)
            else:
                found.append(one.ratio)
            last = one.frame
        return found

    @property
    def median_ratio(self) -> float | None:
        """The median of `ratios`; None without joins."""
        return float(np.median(self.ratios)) if self.seams else None

    def faults(self) -> tuple[str, ...]:
        """All limits broken, each once, such as `jump at 33` or `colour drifts`."""
        at_joins = [f"{name} at {found.frame}" for found in self.seams for name in found.faults()]
        drifts = [f"{name} drifts" for name in self.drift.faults()] if self.drift else []
        return (*at_joins, *drifts, *(self.repetition.faults() if self.repetition else ()), *self.freeze.faults())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {**asdict(self), "ratios": self.ratios, "median_ratio": self.median_ratio, "faults": self.faults()}


class LongClip:
    """Takes frames in order. window: frames that the model makes in one go, within which likeness is no repetition;
    beat: frames a latent, see `seams.seam`."""

    def __init__(self, *, fps: float, window: int, beat: int = 1) -> None:
        if not fps > 0 or window < 2 or beat < 1:
            raise InputError(
                f"fps={fps}, window={window}, beat={beat}: the rate must be above 0, window at least 2 and beat at least 1"
            )
        self.fps, self.window, self.beat, self.count = fps, window, beat, 0
        self._kept: np.ndarray | None = None  # the last frames seen, ending at `count`
        self._waiting: list[int] = []  # joins whose later frames are not all there
        self._seams: list[Seam] = []
        self._changes: list[np.ndarray] = []
        self._thumbnails, self._every = np.zeros((0, 0), np.float32), 1  # of every 1st, 2nd, 4th, ... frame
        self._drifts: list[Drift] = []  # of the shots before
        self._begin()

    def _begin(self) -> None:
        """A shot: its colours are its own."""
        self._segments: list[Interval] = []
        self._parts: list[tuple[Interval, int]] = []
        self._segment = max(1, round(SEGMENT_S * self.fps))  # frames of a segment

    def add(self, frames: np.ndarray, *, joins: bool = True, begins: bool = False) -> list[Seam]:
        """Take the next frames, uint8 [n, h, w, 3]; joins: they are to go on without a seam from those before; begins:
        a shot begins with them, so that its colours may differ.

        Returns the seams that can be judged now; a seam waits for the `reach` frames after it.
        """
        check_clip(frames, 1)
        if self._kept is not None and frames.shape[1:] != self._kept.shape[1:]:
            raise InputError(
                f"frames of {list(frames.shape[1:])} follow others of {list(self._kept.shape[1:])}; a clip has one size"
            )
        if joins and self.count:
            self._waiting.append(self.count)
        last = frames[:0] if self._kept is None else self._kept[-1:]
        self._changes.append(changes(np.concatenate([last, frames])))
        self._remember(frames)
        if begins:
            self._drifts += self._drift()
            self._begin()
        self._describe(frames)
        self._kept = frames if self._kept is None else np.concatenate([self._kept, frames])
        self.count += len(frames)
        settled = self._judged(reach(self.beat))
        self._seams += settled
        self._waiting = [at for at in self._waiting if at + reach(self.beat) > self.count]
        oldest = min([self.count, *self._waiting]) - reach(self.beat)
        self._kept = self._kept[max(0, len(self._kept) - (self.count - oldest)) :].copy()
        return settled

    def faults_of_next(self, frames: np.ndarray, *, same_shot: bool = True) -> tuple[str, ...]:
        """What would be wrong with these as the next frames: they stray from how the shot began, or show again what was
        shown.

        same_shot: whether no shot begins in them. Seams and standing still need no past and are judged elsewhere.
        """
        check_clip(frames, 1)
        found = (
            [f"{name} strays" for name in strayed(self._segments[0], describe(frames))]
            if same_shot and self._segments
            else []
        )
        window = max(2, self.window // self._every)
        run = frames[-self.count % self._every :: self._every]
        if (
            len(self._thumbnails)
            and len(run)
            and likeness(self._thumbnails, thumbnails(run), window) > REPETITION_LIMIT
        ):
            found.append("repeats")
        return tuple(found)

    def report(self) -> LongClipReport:
        """The figures of all frames so far. Joins with fewer than `least` frames on a side are left out."""
        if self.count < 2:
            raise InputError(f"{self.count} frames show nothing; add at least 2")
        found = (*self._seams, *self._judged(least(self.beat)))
        worst = max(
            [*self._drifts, *self._drift()], key=lambda drift: (len(drift.faults()), drift.colour_de), default=None
        )
        return LongClipReport(
            self.count, found, freeze(np.concatenate(self._changes), self.fps), worst, self._repetition(), self.beat
        )

    def _drift(self) -> list[Drift]:
        """The shot's, where it is long enough to show one."""
        return (
            [drift(self._segments, len(self._segments) * self._segment / self.fps)] if len(self._segments) > 2 else []
        )

    def _repetition(self) -> Repetition | None:
        window, every = max(2, self.window // self._every), self._every
        if len(self._thumbnails) < 1.5 * window:
            return None
        found = repetition(self._thumbnails, window)
        return Repetition(found.likeness, found.first * every, found.second * every, found.frames * every)

    def _remember(self, frames: np.ndarray) -> None:
        """Thumbnails: so many at most, of fewer frames as the clip grows."""
        skipped = -self.count % self._every
        chosen = frames[skipped :: self._every]
        if len(chosen):
            new = thumbnails(chosen)
            self._thumbnails = np.concatenate([self._thumbnails, new]) if len(self._thumbnails) else new
        while len(self._thumbnails) > _MOST_THUMBNAILS:
            self._thumbnails, self._every = self._thumbnails[::2].copy(), 2 * self._every

    def _describe(self, frames: np.ndarray) -> None:
        while len(frames):
            room = self._segment - sum(count for _, count in self._parts)
            part, frames = frames[:room], frames[room:]
            self._parts.append((describe(part), len(part)))
            if len(part) == room:
                self._segments.append(joined(self._parts))
                self._parts = []
                self._thin()

    def _thin(self) -> None:
        """Segments twice as long, where there are many."""
        if len(self._segments) >= _MOST_SEGMENTS:
            pairs = zip(self._segments[::2], self._segments[1::2], strict=True)
            self._segments = [joined([(a, 1), (b, 1)]) for a, b in pairs]
            self._segment *= 2

    def _judged(self, after: int) -> list[Seam]:
        """Of the joins that wait, those with so many frames after them."""
        assert self._kept is not None
        first, found = self.count - len(self._kept), []
        for at in self._waiting:
            if at - first >= least(self.beat) and at + after <= self.count:
                begin = max(0, at - first - reach(self.beat))
                found.append(replace(seam(self._kept[begin:], at - first - begin, self.beat), frame=at))
        return found
