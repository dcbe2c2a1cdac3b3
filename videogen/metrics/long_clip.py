"""Streaming quality metrics of a long clip: seams, drift, repetition and freezing, with only a few frames in memory.

    meter = LongClip(fps=16, window=33, frames_per_latent=4)
    for segment in segments:
        meter.add(segment.frames, joins=not segment.begins_with_a_cut)      # uint8 [n, h, w, 3]
    report = meter.report()

Only one number per pair of frames grows with the length; thumbnails and intervals become coarser instead.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from videogen.core.errors import InputError

from .drift import Drift, Interval, describe, drift, drift_faults, merge_intervals
from .frame_statistics import check_clip
from .freeze import Freeze, changes, freeze
from .repetition import REPETITION_LIMIT, Repetition, repetition, similarity, thumbnails
from .seams import Seam, least, reach, seam

INTERVAL_S = 1.0
_MOST_THUMBNAILS, _MOST_INTERVALS = 4096, 512  # both even


@dataclass(frozen=True)
class LongClipReport:
    """Metrics of a clip. drift: of the shot where it is worst. drift, repetition: None where the clip is too short."""

    frames: int
    seams: tuple[Seam, ...]
    freeze: Freeze
    drift: Drift | None
    repetition: Repetition | None
    frames_per_latent: int = 1

    @property
    def ratios(self) -> list[float]:
        """The seam ratio of each place where segments meet. Joins at neighbouring latents are one place, a cross-fade,
        whose ratio is that of its worst join."""
        found: list[float] = []
        last = None
        for one in sorted(self.seams, key=lambda one: one.frame):
            if last is not None and one.frame - last == self.frames_per_latent:
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
        """All limits that are exceeded, each once, such as `jump at 33` or `colour drifts`."""
        at_joins = [f"{name} at {found.frame}" for found in self.seams for name in found.faults()]
        drifts = [f"{name} drifts" for name in self.drift.faults()] if self.drift else []
        return (*at_joins, *drifts, *(self.repetition.faults() if self.repetition else ()), *self.freeze.faults())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {**asdict(self), "ratios": self.ratios, "median_ratio": self.median_ratio, "faults": self.faults()}


class LongClip:
    """Measures a clip whose frames are added in order. window: frames that the model generates at once, within which
    similarity is not counted as repetition; frames_per_latent: see `seams.seam`."""

    def __init__(self, *, fps: float, window: int, frames_per_latent: int = 1) -> None:
        if not fps > 0 or window < 2 or frames_per_latent < 1:
            raise InputError(
                f"fps={fps}, window={window}, frames_per_latent={frames_per_latent}: the rate must be above 0, "
                "window at "
                "least 2 and frames_per_latent at least 1"
            )
        self.fps, self.window, self.frames_per_latent, self.count = fps, window, frames_per_latent, 0
        self._recent: np.ndarray | None = None  # the last frames, ending at `count`
        self._pending: list[int] = []  # joins that wait for later frames
        self._seams: list[Seam] = []
        self._changes: list[np.ndarray] = []
        self._thumbnails, self._every = np.zeros((0, 0), np.float32), 1  # of every 1st, 2nd, 4th, ... frame
        self._drifts: list[Drift] = []  # of the earlier shots
        self._begin_shot()

    def _begin_shot(self) -> None:
        """Start new intervals: drift is measured within a shot."""
        self._intervals: list[Interval] = []
        self._parts: list[tuple[Interval, int]] = []
        self._interval = max(1, round(INTERVAL_S * self.fps))  # frames per interval

    def add(self, frames: np.ndarray, *, joins: bool = True, begins: bool = False) -> list[Seam]:
        """Add the next frames, uint8 [n, h, w, 3]. joins: they should continue the frames before them without a seam;
        begins: a shot begins with them, so that its colours may differ.

        Returns the seams that can be evaluated now; a seam needs the `reach` frames after it.
        """
        check_clip(frames, 1)
        if self._recent is not None and frames.shape[1:] != self._recent.shape[1:]:
            raise InputError(
                f"frames of {list(frames.shape[1:])} follow others of {list(self._recent.shape[1:])}; all frames of a "
                "clip need one size"
            )
        if joins and self.count:
            self._pending.append(self.count)
        last = frames[:0] if self._recent is None else self._recent[-1:]
        self._changes.append(changes(np.concatenate([last, frames])))
        self._add_thumbnails(frames)
        if begins:
            self._drifts += self._shot_drift()
            self._begin_shot()
        self._describe(frames)
        self._recent = frames if self._recent is None else np.concatenate([self._recent, frames])
        self.count += len(frames)
        side = reach(self.frames_per_latent)
        evaluated = self._evaluate_seams(side)
        self._seams += evaluated
        self._pending = [at for at in self._pending if at + side > self.count]
        oldest = min([self.count, *self._pending]) - side
        self._recent = self._recent[max(0, len(self._recent) - (self.count - oldest)) :].copy()
        return evaluated

    def faults_of_next(self, frames: np.ndarray, *, same_shot: bool = True) -> tuple[str, ...]:
        """The faults that these would have as the next frames: drift from the beginning of the shot, or repetition of
        earlier frames.

        same_shot: whether no shot begins in them. Seams and freezing need no earlier frames and are checked elsewhere.
        """
        check_clip(frames, 1)
        found = []
        if same_shot and self._intervals:
            found = [f"{name} drifts" for name in drift_faults(self._intervals[0], describe(frames))]
        window = max(2, self.window // self._every)
        run = frames[-self.count % self._every :: self._every]
        if (
            len(self._thumbnails)
            and len(run)
            and similarity(self._thumbnails, thumbnails(run), window) > REPETITION_LIMIT
        ):
            found.append("repeats")
        return tuple(found)

    def report(self) -> LongClipReport:
        """The metrics of all frames so far. Joins with fewer than `least` frames on a side are left out."""
        if self.count < 2:
            raise InputError(f"{self.count} frames cannot be evaluated; add at least 2")
        found = (*self._seams, *self._evaluate_seams(least(self.frames_per_latent)))
        drifts = [*self._drifts, *self._shot_drift()]
        worst = max(drifts, key=lambda drift: (len(drift.faults()), drift.colour_de), default=None)
        frozen = freeze(np.concatenate(self._changes), self.fps)
        return LongClipReport(self.count, found, frozen, worst, self._repetition(), self.frames_per_latent)

    def _shot_drift(self) -> list[Drift]:
        """Drift of the present shot; empty where the shot is too short."""
        count = len(self._intervals)
        return [drift(self._intervals, count * self._interval / self.fps)] if count > 2 else []

    def _repetition(self) -> Repetition | None:
        window, every = max(2, self.window // self._every), self._every
        if len(self._thumbnails) < 1.5 * window:
            return None
        found = repetition(self._thumbnails, window)
        return Repetition(found.similarity, found.first * every, found.second * every, found.frames * every)

    def _add_thumbnails(self, frames: np.ndarray) -> None:
        """Store thumbnails, up to a fixed number: the longer the clip, the fewer of its frames have one."""
        skipped = -self.count % self._every
        chosen = frames[skipped :: self._every]
        if len(chosen):
            new = thumbnails(chosen)
            self._thumbnails = np.concatenate([self._thumbnails, new]) if len(self._thumbnails) else new
        while len(self._thumbnails) > _MOST_THUMBNAILS:
            self._thumbnails, self._every = self._thumbnails[::2].copy(), 2 * self._every

    def _describe(self, frames: np.ndarray) -> None:
        while len(frames):
            room = self._interval - sum(count for _, count in self._parts)
            part, frames = frames[:room], frames[room:]
            self._parts.append((describe(part), len(part)))
            if len(part) == room:
                self._intervals.append(merge_intervals(self._parts))
                self._parts = []
                self._thin()

    def _thin(self) -> None:
        """Double the length of the intervals where there are many."""
        if len(self._intervals) >= _MOST_INTERVALS:
            pairs = zip(self._intervals[::2], self._intervals[1::2], strict=True)
            self._intervals = [merge_intervals([(a, 1), (b, 1)]) for a, b in pairs]
            self._interval *= 2

    def _evaluate_seams(self, after: int) -> list[Seam]:
        """Seams of the pending joins that have at least `after` frames after them."""
        assert self._recent is not None
        first, found = self.count - len(self._recent), []
        for at in self._pending:
            if at - first >= least(self.frames_per_latent) and at + after <= self.count:
                begin = max(0, at - first - reach(self.frames_per_latent))
                found.append(replace(seam(self._recent[begin:], at - first - begin, self.frames_per_latent), frame=at))
        return found
