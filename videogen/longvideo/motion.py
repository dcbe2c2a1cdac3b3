"""Motion of a long video: warped noise for the full video or per moving shot, and how closely the frames follow it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from videogen.backbones.base import Backbone
from videogen.core.logs import log_note
from videogen.core.randomness import address
from videogen.motion import MotionPlan, compile_motion
from videogen.motion.flow import estimate
from videogen.motion.preview import advance_frame
from videogen.motion.spec import Motion
from videogen.request.resolved import MotionSettings, ResolvedRequest
from videogen.schedulers.noise.stream import IidNoise, NoiseStream, WarpedStream
from videogen.techniques.driving_video import DrivingVideoReader
from videogen.techniques.motion_plan import build_warped_noise
from videogen.timeline.latent_timeline import LatentTimeline

_PLANS = 4  # plans in memory
_FLOOR_EVERY = 4  # every so many frames, one is warped along the plan to measure the estimator's own error


@dataclass
class LongMotion:
    """The motion of a resolved request: noise for its clips, and the measured flow of its frames as they come.

    A shot's motion takes precedence over the video's. Plans are made when they are needed, and few stay in memory.
    """

    request: ResolvedRequest
    settings: MotionSettings
    timeline: LatentTimeline
    backbone: Backbone
    _plans: dict[int | None, tuple[MotionPlan, int] | None] = field(default_factory=dict)
    _notes: dict[int | None, tuple[str, ...]] = field(default_factory=dict)
    _video_stream: NoiseStream | None = None
    _rows: dict[int, _ShotFlow] = field(default_factory=dict)
    _count: int = 0
    _last_frame: np.ndarray | None = None

    @classmethod
    def from_request(cls, request: ResolvedRequest, timeline: LatentTimeline, backbone: Backbone) -> LongMotion | None:
        """None for a video without motion."""
        return None if request.motion is None else cls(request, request.motion, timeline, backbone)

    def noise(self, index: int) -> NoiseStream:
        """The noise of a shot."""
        key = self._key(index)
        found = self._plan_of(key)
        if found is None:
            return IidNoise(self.timeline.shots[index].seed)
        if key is not None:
            return self._stream(key, *found)
        self._video_stream = self._video_stream or self._stream(key, *found)
        return self._video_stream

    def add(self, frames: np.ndarray) -> None:
        """Measure the next frames, uint8 [n, h, w, 3]."""
        joined = frames if self._last_frame is None else np.concatenate([self._last_frame[None], frames])
        at = self._count - (self._last_frame is not None)
        for number, (before, after) in enumerate(pairwise(joined), at):
            self._measure(number, before, after)
        self._count, self._last_frame = self._count + len(frames), frames[-1].copy()

    @property
    def measured(self) -> dict[str, Any]:
        """The backend, its strength, the figures of each moving shot, and notes on the files that the motion was read
        from.

        target_px: mean target motion per frame over the controlled pixels. error_px: mean distance of the measured flow
        from it; that of a clip that does not move is target_px. floor_px: the same distance for frames that are warped
        exactly along the target (every fourth), which is the estimator's own error.
        """
        shots = [{"shot": index, **row.to_dict()} for index, row in sorted(self._rows.items()) if row.pixels]
        by_shot = sorted(self._notes.items(), key=lambda item: -1 if item[0] is None else item[0])
        notes = list(dict.fromkeys(note for _, notes in by_shot for note in notes))
        return {
            "backend": str(self.settings.control), "strength": self.settings.strength, "shots": shots,
            **({"notes": notes} if notes else {}),
        }  # fmt: skip

    def _measure(self, frame: int, before: np.ndarray, after: np.ndarray) -> None:
        """Measure the flow from `frame` to the next, where both are in one shot that moves."""
        latent_map = self.timeline.latent_map
        index = self.timeline.index_at(min(latent_map.latent_of(frame), self.timeline.latents - 1))
        found = self._plan_of(self._key(index))
        if found is None or latent_map.latent_of(frame + 1) >= self.timeline.shots[index].stop:
            return
        plan, start = found
        first_latent = latent_map.frames_of(start)
        plan_start = first_latent.stop - 1 if self.backbone.geometry.single_first else first_latent.start
        local = frame - plan_start
        if not 0 <= local < plan.frames - 1:
            return
        controlled = plan.mask_at(local) > 0.5
        target, row = plan.flow_at(local)[:, controlled], self._rows.setdefault(index, _ShotFlow())
        row.add(
            np.linalg.norm(estimate(before, after, preset="fast")[:, controlled] - target, axis=0),
            np.linalg.norm(target, axis=0),
        )
        if local % _FLOOR_EVERY == 0:
            moved = estimate(before, advance_frame(plan, before, local), preset="fast")[:, controlled]
            row.add_floor(np.linalg.norm(moved - target, axis=0))

    def _key(self, index: int) -> int | None:
        """A shot's number if it has a motion; None if it follows the video's."""
        return None if self.timeline.shots[index].motion is None else index

    def _stream(self, key: int | None, plan: MotionPlan, start: int) -> NoiseStream:
        control, strength = self.settings.control, self.settings.strength
        seed = self.request.seed if key is None else address(self.timeline.shots[key].seed, "shot", key)
        return WarpedStream(build_warped_noise(plan, control, strength, self.backbone, seed), start)

    def _plan_of(self, key: int | None) -> tuple[MotionPlan, int] | None:
        """(the plan, the latent that it begins with), None where nothing moves. The last few stay in memory."""
        if key not in self._plans:
            while len(self._plans) >= _PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = self._make_plan(key)
        return self._plans[key]

    def _make_plan(self, key: int | None) -> tuple[MotionPlan, int] | None:
        if key is None:
            motion, start, stop = self.settings.spec, 0, self.timeline.latents
        else:
            shot = self.timeline.shots[key]
            motion, start, stop = shot.motion, shot.start, shot.stop
        if motion is None:
            return None
        plan, notes = self._compile(motion, self.timeline.latent_map.frame_count(stop - start))
        if key not in self._notes:  # the first time: plans are recomputed
            for note in notes:
                log_note("%s", note)
        self._notes[key] = notes
        return plan, start

    def _compile(self, motion: Motion, frames: int) -> tuple[MotionPlan, tuple[str, ...]]:
        """A plan, and notes on it and its files."""
        request = self.request
        reader = DrivingVideoReader(frames, request.fps)
        plan = compile_motion(motion, frames, request.height, request.width, fps=request.fps, read_video=reader)
        return plan, (*reader.notes, *plan.notes)


@dataclass
class _ShotFlow:
    """Sums over the pixels measured so far."""

    pixels: int = 0
    error: float = 0.0
    target: float = 0.0
    floor_pixels: int = 0
    floor: float = 0.0

    def add(self, error: np.ndarray, target: np.ndarray) -> None:
        self.pixels += len(error)
        self.error += float(error.sum(dtype=np.float64))
        self.target += float(target.sum(dtype=np.float64))

    def add_floor(self, error: np.ndarray) -> None:
        self.floor_pixels += len(error)
        self.floor += float(error.sum(dtype=np.float64))

    def to_dict(self) -> dict[str, float]:
        floor = {"floor_px": round(self.floor / self.floor_pixels, 3)} if self.floor_pixels else {}
        return {
            "error_px": round(self.error / self.pixels, 3),
            **floor,
            "target_px": round(self.target / self.pixels, 3),
        }
