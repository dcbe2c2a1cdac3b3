"""A long video's motion: one warped noise over all of it, or one for each shot that moves; and how far what came
follows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from videogen.backbones.base import Backbone
from videogen.core.randomness import address
from videogen.motion import MotionPlan, compile
from videogen.motion.flow import estimate
from videogen.motion.preview import moved_on
from videogen.motion.spec import Motion
from videogen.request.resolved import MotionSettings, ResolvedRequest
from videogen.schedulers.noise.stream import IidNoise, NoiseStream, WarpedStream
from videogen.techniques.motion_plan import driving_video, warped
from videogen.timeline.latent_timeline import LatentTimeline

_PLANS = 4
_FLOOR_EVERY = 4  # frames of which one is moved on by hand, to tell the measuring's own error


@dataclass
class LongMotion:
    """The motion of a resolved request, for whose clips it gives the noise, and whose frames it judges as they come.

    A shot's own motion goes before the whole video's. Plans are made when they are asked for, and few are kept.
    """

    request: ResolvedRequest
    settings: MotionSettings
    shown: LatentTimeline
    backbone: Backbone
    _plans: dict[int | None, tuple[MotionPlan, int] | None] = field(default_factory=dict)
    _whole: NoiseStream | None = None
    _rows: dict[int, _Found] = field(default_factory=dict)
    _seen: int = 0
    _last: np.ndarray | None = None

    @classmethod
    def of(cls, request: ResolvedRequest, shown: LatentTimeline, backbone: Backbone) -> LongMotion | None:
        """None for a video without motion."""
        return None if request.motion is None else cls(request, request.motion, shown, backbone)

    def noise(self, index: int) -> NoiseStream:
        """Of a shot."""
        key = self._key(index)
        found = self._plan_of(key)
        if found is None:
            return IidNoise(self.shown.shots[index].seed)
        if key is not None:
            return self._stream(key, *found)
        self._whole = self._whole or self._stream(key, *found)
        return self._whole

    def add(self, frames: np.ndarray) -> None:
        """Judge the next frames, uint8 [n, h, w, 3]."""
        both = frames if self._last is None else np.concatenate([self._last[None], frames])
        at = self._seen - (self._last is not None)
        for number, (before, after) in enumerate(pairwise(both), at):
            self._judge(number, before, after)
        self._seen, self._last = self._seen + len(frames), frames[-1].copy()

    @property
    def measured(self) -> dict[str, Any]:
        """What was promised, and for each shot that moves what came of it. asked_px: mean motion a frame where the plan
        says what is to be seen; error_px: mean distance of the measured flow from it, which for a clip that stands
        still is asked_px; floor_px: the same distance where a frame is moved on just as asked (one in four): the
        measuring's own error."""
        shots = [{"shot": index, **found.told()} for index, found in sorted(self._rows.items()) if found.pixels]
        return {"backend": str(self.settings.control), "strength": self.settings.strength, "shots": shots}

    def _judge(self, frame: int, before: np.ndarray, after: np.ndarray) -> None:
        """Flow from `frame` to the next, where both are of one shot that moves."""
        latent_map = self.shown.latent_map
        index = self.shown.index_at(min(latent_map.latent_of(frame), self.shown.latents - 1))
        found = self._plan_of(self._key(index))
        if found is None or latent_map.latent_of(frame + 1) >= self.shown.shots[index].stop:
            return
        plan, start = found
        held = latent_map.frames_of(start)
        local = frame - (held.stop - 1 if self.backbone.geometry.single_first else held.start)
        if not 0 <= local < plan.frames - 1:
            return
        told = plan.mask_at(local) > 0.5
        target, row = plan.flow_at(local)[:, told], self._rows.setdefault(index, _Found())
        row.take(
            np.linalg.norm(estimate(before, after, preset="fast")[:, told] - target, axis=0),
            np.linalg.norm(target, axis=0),
        )
        if local % _FLOOR_EVERY == 0:
            moved = estimate(before, moved_on(plan, before, local), preset="fast")[:, told]
            row.take_floor(np.linalg.norm(moved - target, axis=0))

    def _key(self, index: int) -> int | None:
        """A shot's number where its motion is its own; None where it is the whole video's."""
        return None if self.shown.shots[index].motion is None else index

    def _stream(self, key: int | None, plan: MotionPlan, start: int) -> NoiseStream:
        control, strength = self.settings.control, self.settings.strength
        seed = self.request.seed if key is None else address(self.shown.shots[key].seed, "shot", key)
        return WarpedStream(warped(plan, control, strength, self.backbone, seed), start)

    def _plan_of(self, key: int | None) -> tuple[MotionPlan, int] | None:
        """(the plan, the latent that it begins with), None where nothing moves. The last few are kept."""
        if key not in self._plans:
            while len(self._plans) >= _PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = self._planned(key)
        return self._plans[key]

    def _planned(self, key: int | None) -> tuple[MotionPlan, int] | None:
        if key is None:
            motion, start, stop = self.settings.spec, 0, self.shown.latents
        else:
            shot = self.shown.shots[key]
            motion, start, stop = shot.motion, shot.start, shot.stop
        return (
            None if motion is None else (self._compiled(motion, self.shown.latent_map.frame_count(stop - start)), start)
        )

    def _compiled(self, motion: Motion, frames: int) -> MotionPlan:
        request = self.request
        return compile(motion, frames, request.height, request.width, fps=request.fps, read_video=driving_video)


@dataclass
class _Found:
    """Sums over the pixels judged so far."""

    pixels: int = 0
    error: float = 0.0
    asked: float = 0.0
    floor_pixels: int = 0
    floor: float = 0.0

    def take(self, error: np.ndarray, asked: np.ndarray) -> None:
        self.pixels += len(error)
        self.error += float(error.sum(dtype=np.float64))
        self.asked += float(asked.sum(dtype=np.float64))

    def take_floor(self, error: np.ndarray) -> None:
        self.floor_pixels += len(error)
        self.floor += float(error.sum(dtype=np.float64))

    def told(self) -> dict[str, float]:
        floor = {"floor_px": round(self.floor / self.floor_pixels, 3)} if self.floor_pixels else {}
        return {"error_px": round(self.error / self.pixels, 3), **floor, "asked_px": round(self.asked / self.pixels, 3)}
