"""A timeline in latent frames: which prompts count how much, which seed, where a cut breaks the tie to what was before.

A shot begins with the first latent frame at least half of whose frames are its own, so it is off by half a latent at
most. Where it blends, the new prompt's weight rises from its first latent on; nothing before a shot's start hangs on
the shot, so that what is rendered stays as it is when a story's later part changes.
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

from .timeline import Shot, Timeline, number, round_half_up

if TYPE_CHECKING:
    from videogen.motion.spec import Motion

Mix = tuple[tuple[int, float], ...]  # (number of a prompt, its weight), the heaviest first; the weights sum to 1


@dataclass(frozen=True)
class LatentShot:
    """Latents start to stop. prompt: its number in `LatentTimeline.prompts`; blend: over how many latents it takes over
    from the shot before; cut: whether it begins a new picture."""

    start: int
    stop: int
    prompt: int
    blend: int
    cut: bool
    seed: int
    motion: Motion | None


@dataclass(frozen=True)
class LatentTimeline:
    """What a clip shows, latent frame by latent frame. prompts: each once, in order; latent_map: which frames a latent
    holds."""

    prompts: tuple[str, ...]
    shots: tuple[LatentShot, ...]
    latent_map: FrameLatentMap

    @property
    def latents(self) -> int:
        return self.shots[-1].stop

    @property
    def cuts(self) -> tuple[int, ...]:
        """Latents that begin a new picture; never 0."""
        return tuple(shot.start for shot in self.shots[1:] if shot.cut)

    def index_at(self, latent: int) -> int:
        """The number of the shot that a latent is of."""
        if not 0 <= latent < self.latents:
            raise InputError(f"latent frame {latent} is not in this clip of {self.latents}")
        return bisect_right(self.shots, latent, key=lambda shot: shot.start) - 1

    def shot_at(self, latent: int) -> LatentShot:
        return self.shots[self.index_at(latent)]

    def mix_at(self, latent: int) -> Mix:
        """The prompts of one latent."""
        return self.mix(latent, latent + 1)

    def mix(self, start: int, stop: int) -> Mix:
        """The prompts of latents start to stop, averaged: what a model gets that reads one prompt a window."""
        total = self.weights(start, stop).mean(0)
        order = sorted(np.flatnonzero(total), key=lambda prompt: (-total[prompt], prompt))
        return tuple((int(prompt), float(total[prompt])) for prompt in order)

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

    def seeds(self, start: int, stop: int) -> list[int]:
        """The seed of each latent from start to stop."""
        return [self.shot_at(latent).seed for latent in range(start, stop)]

    def scenes(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of the latents between cuts: what is to hang together."""
        return pairwise((0, *self.cuts, self.latents))

    def scene_at(self, latent: int) -> tuple[int, int]:
        """(start, stop) of the scene that a latent is in."""
        self.index_at(latent)
        return next((a, b) for a, b in self.scenes() if a <= latent < b)


def compile_timeline(
    timeline: Timeline, *, fps: Fraction | float, frames: int, geometry: Geometry, seed: int = 0
) -> LatentTimeline:
    """The timeline for a clip of `frames` frames at `fps`. seed: of the shots that have none of their own.

    A last shot that ends within a latent of the clip's end is taken to end there. InputError where the story and the
    clip are not of one length, a shot is shorter than one latent frame, or a blend longer than its shot.
    """
    latent_map, rate = FrameLatentMap.from_geometry(geometry), exact_fps(fps)
    count = latent_map.latent_count(frames)
    _check_length(timeline, rate, frames, latent_map)
    starts = [latent_map.first_latent_from(timeline.frame(shot.start, rate)) for shot in timeline.shots]
    prompts = tuple(dict.fromkeys(shot.prompt for shot in timeline.shots))
    spans = pairwise((*starts, count))
    made = []
    for at, (shot, (start, stop)) in enumerate(zip(timeline.shots, spans, strict=True), 1):
        if start >= stop:
            raise InputError(_too_short(timeline, at, latent_map, rate, frames))
        blend = _blend(shot, at, rate, latent_map, stop - start)
        own = seed if shot.seed is None else shot.seed
        made.append(
            LatentShot(start, stop, prompts.index(shot.prompt), blend, shot.transition.kind == "cut", own, shot.motion)
        )
    return LatentTimeline(prompts, tuple(made), latent_map)


def _check_length(timeline: Timeline, fps: Fraction, frames: int, latent_map: FrameLatentMap) -> None:
    if timeline.end is None:
        return
    end = timeline.frame(timeline.end, fps)
    if abs(end - frames) >= latent_map.frames_per_latent:
        raise InputError(
            f"the story ends at {timeline.told(timeline.end)}, which is frame {end} at {number(fps)} fps, and the clip has {frames} "
            f"frames; ask for {latent_map.round_up(end)} frames, or leave the last shot's end open"
        )


def _too_short(timeline: Timeline, at: int, latent_map: FrameLatentMap, fps: Fraction, frames: int) -> str:
    shot = timeline.shots[at - 1]
    if timeline.frame(shot.start, fps) >= frames:
        return f"shot {at} starts at {timeline.told(shot.start)}, the clip has {frames} frames at {number(fps)} fps; make it longer"
    least = Fraction(latent_map.frames_per_latent) / (fps if timeline.unit == "seconds" else 1)
    return (
        f"shot {at} from {timeline.told(shot.start)} on is shorter than one latent frame, which holds "
        f"{latent_map.frames_per_latent} frames; "
        f"let it last at least {number(least)} {'s' if timeline.unit == 'seconds' else 'frames'}"
    )


def _blend(shot: Shot, at: int, fps: Fraction, latent_map: FrameLatentMap, own: int) -> int:
    """Over how many latents a shot takes over; 0 where it does not blend."""
    if shot.transition.kind != "blend":
        return 0
    frames = shot.transition.length if shot.transition.in_frames else shot.transition.length * fps
    blend = max(1, round_half_up(frames / latent_map.frames_per_latent))
    if blend > own:
        raise InputError(
            f"shot {at} is to {shot.transition}, {number(frames)} frames, and lasts about {own * latent_map.frames_per_latent}; "
            f"blend over at most {own * latent_map.frames_per_latent} frames"
        )
    return blend
