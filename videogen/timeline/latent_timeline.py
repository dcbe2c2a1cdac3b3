"""Timeline in latent frames: prompt weights, seeds and cuts of each latent frame of a clip.

A shot begins with the first latent frame of which at least half of the frames belong to it, so its start is off by half
a latent at most. In a blend, the new prompt's weight rises from the shot's first latent on. Nothing before a shot's
start depends on the shot, so that changing a story's later part leaves the rendered frames before it unchanged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from videogen.core.errors import InputError
from videogen.core.frame_latent_map import FrameLatentMap, Geometry
from videogen.core.rates import exact_fps

from .timeline import Shot, Timeline, format_number, round_half_up

if TYPE_CHECKING:
    from videogen.motion.spec import Motion


@dataclass(frozen=True)
class LatentShot:
    """Latents start to stop. prompt: its index in `LatentTimeline.prompts`; blend: over how many latents it blends with
    the shot before; cut: whether its image starts afresh, not joined to what precedes it."""

    start: int
    stop: int
    prompt: int
    blend: int
    cut: bool
    seed: int
    motion: Motion | None


@dataclass(frozen=True)
class LatentTimeline:
    """The shots of a clip. prompts: each once, in order; latent_map: which frames a latent decodes to."""

    prompts: tuple[str, ...]
    shots: tuple[LatentShot, ...]
    latent_map: FrameLatentMap

    @property
    def latents(self) -> int:
        return self.shots[-1].stop

    @property
    def cuts(self) -> tuple[int, ...]:
        """The latents that a cut precedes; never 0."""
        return tuple(shot.start for shot in self.shots[1:] if shot.cut)

    def index_at(self, latent: int) -> int:
        """The index of the shot that a latent frame belongs to. InputError outside the clip."""
        if not 0 <= latent < self.latents:
            raise InputError(f"latent frame {latent} is not in this clip of {self.latents}")
        return bisect_right(self.shots, latent, key=lambda shot: shot.start) - 1

    def shot_at(self, latent: int) -> LatentShot:
        """The shot that a latent frame belongs to. InputError outside the clip."""
        return self.shots[self.index_at(latent)]

    def weights(self, start: int, stop: int) -> np.ndarray:
        """Each prompt's weight in latents start to stop: float64 [stop - start, prompts], rows summing to 1."""
        if not 0 <= start < stop <= self.latents:
            raise InputError(f"latent frames {start} to {stop} are not in this clip of {self.latents}")
        rows = np.zeros((stop - start, len(self.prompts)))
        for latent in range(start, stop):
            index = self.index_at(latent)
            shot = self.shots[index]
            new = min(1.0, (latent - shot.start + 1) / (shot.blend + 1))
            rows[latent - start, shot.prompt] += new
            if new < 1:
                rows[latent - start, self.shots[index - 1].prompt] += 1 - new
        return rows

    def scenes(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of the latents between cuts: within these, frames are to be continuous."""
        return pairwise((0, *self.cuts, self.latents))


def compile_timeline(
    timeline: Timeline, *, fps: Fraction | float, frames: int, geometry: Geometry, seed: int = 0
) -> LatentTimeline:
    """The timeline of a clip of `frames` frames at `fps`, in latent frames. seed: of the shots without one.

    The end of the last shot may differ from the clip's by less than one latent. InputError where the story and the clip
    differ in length by more, a shot is shorter than one latent frame, or a blend is longer than its shot.
    """
    latent_map, rate = FrameLatentMap.from_geometry(geometry), exact_fps(fps)
    count = latent_map.latent_count(frames)
    _check_length(timeline, rate, frames, latent_map)
    starts = [latent_map.first_latent_from(timeline.frame(shot.start, rate)) for shot in timeline.shots]
    prompts = tuple(dict.fromkeys(shot.prompt for shot in timeline.shots))
    spans = pairwise((*starts, count))
    shots = []
    for number, (shot, (start, stop)) in enumerate(zip(timeline.shots, spans, strict=True), 1):
        if start >= stop:
            raise InputError(_too_short_message(timeline, number, latent_map, rate, frames))
        latent_shot = LatentShot(
            start=start,
            stop=stop,
            prompt=prompts.index(shot.prompt),
            blend=_blend_latents(shot, number, rate, latent_map, stop - start),
            cut=shot.transition.kind == "cut",
            seed=seed if shot.seed is None else shot.seed,
            motion=shot.motion,
        )
        shots.append(latent_shot)
    return LatentTimeline(prompts, tuple(shots), latent_map)


def _check_length(timeline: Timeline, fps: Fraction, frames: int, latent_map: FrameLatentMap) -> None:
    if timeline.end is None:
        return
    end = timeline.frame(timeline.end, fps)
    if abs(end - frames) >= latent_map.frames_per_latent:
        raise InputError(
            f"the story ends at {timeline.format_time(timeline.end)}, which is frame {end} at {format_number(fps)} "
            f"fps, and the clip has {frames} frames; use frames={latent_map.round_up(end)}, or leave the last shot's "
            "end open"
        )


def _too_short_message(timeline: Timeline, number: int, latent_map: FrameLatentMap, fps: Fraction, frames: int) -> str:
    shot = timeline.shots[number - 1]
    start = timeline.format_time(shot.start)
    if timeline.frame(shot.start, fps) >= frames:
        return (
            f"shot {number} starts at {start}, and the clip has {frames} frames at {format_number(fps)} fps; "
            "make the clip longer"
        )
    shortest = Fraction(latent_map.frames_per_latent) / (fps if timeline.unit == "seconds" else 1)
    return (
        f"shot {number}, which starts at {start}, is shorter than one latent frame of {latent_map.frames_per_latent} "
        f"frames; make it at least {format_number(shortest)} {'s' if timeline.unit == 'seconds' else 'frames'} long"
    )


def _blend_latents(shot: Shot, number: int, fps: Fraction, latent_map: FrameLatentMap, latents: int) -> int:
    """Over how many latents a shot of so many blends with the one before; 0 where it does not blend."""
    if shot.transition.kind != "blend":
        return 0
    frames = shot.transition.length if shot.transition.in_frames else shot.transition.length * fps
    blend = max(1, round_half_up(frames / latent_map.frames_per_latent))
    if blend > latents:
        shot_frames = latents * latent_map.frames_per_latent
        raise InputError(
            f"shot {number} begins with {shot.transition}, {format_number(frames)} frames, and has only about "
            f"{shot_frames}; blend over at most {shot_frames} frames"
        )
    return blend
