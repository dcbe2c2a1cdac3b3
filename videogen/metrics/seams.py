"""Visibility of seams: how the frames at a join between segments differ from the clip's normal changes. No weights.

A join at frame s lies between s - 1 and s. Each figure compares it with only the `reach` frames on either side, so that
a long video is evaluated segment by segment. The limits lie just outside the range of clips without joins: of 450
places in rendered scenes, 99 % have a ratio below 1.05, a jerk below 1.5, a pace within 1.7, a colour step below 0.1
and sharpness within 1.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

from .frame_statistics import check_clip, mean_lab, second_differences, sharpness, steps

RATIO_LIMIT = 1.25  # a step larger than its neighbours by this factor is visible as a jump
STALL_LIMIT = 0.5  # a step smaller by this factor is visible as a stop
JERK_LIMIT = 2.0
PACE_LIMIT = 2.0
COLOUR_LIMIT_DE = 1.0  # the least difference that is visible side by side
SHARPNESS_LIMIT = 1.5
# Levels of 255: smaller first and second differences count as these, so that noise in a static image is not a jump.
QUIET_LEVELS, QUIET_SECOND_LEVELS = 0.05, 0.25
_REACH, _COLOUR_REACH = 8, 4
_QUIET_SHARPNESS = 1.0


@dataclass(frozen=True)
class Seam:
    """Visibility of the join at `frame`; in a continuous clip the ratios are about 1 and colour_de about 0.

    ratio: the step across the join over the median step around it. jerk: the same ratio for second differences, taking
    the larger of the two that span the join: a change of direction. pace: the median step after the join over that
    before it. colour_de: distance between the mean Lab colours of the 4 frames after and the 4 frames before, minus the
    same measure 4 frames earlier or later. sharpness: the Laplacian's variance after over before.
    """

    frame: int
    ratio: float
    jerk: float
    pace: float
    colour_de: float
    sharpness: float

    def faults(self) -> tuple[str, ...]:
        """The limits that are exceeded: jump, stall, jerk, pace, colour, sharpness."""
        exceeded = {
            "jump": self.ratio > RATIO_LIMIT,
            "stall": self.ratio < STALL_LIMIT,
            "jerk": self.jerk > JERK_LIMIT,
            "pace": not 1 / PACE_LIMIT <= self.pace <= PACE_LIMIT,
            "colour": self.colour_de > COLOUR_LIMIT_DE,
            "sharpness": not 1 / SHARPNESS_LIMIT <= self.sharpness <= SHARPNESS_LIMIT,
        }
        return tuple(name for name, is_exceeded in exceeded.items() if is_exceeded)


def reach(frames_per_latent: int = 1) -> int:
    """Frames on either side of a join that are evaluated."""
    return max(_REACH, 2 * frames_per_latent + 1)


def least(frames_per_latent: int = 1) -> int:
    """Frames that a join needs on either side."""
    return max(_COLOUR_REACH, frames_per_latent + 1)


def seam(frames: np.ndarray, at: int, frames_per_latent: int = 1) -> Seam:
    """Visibility of the join before frame `at` of uint8 [n, h, w, 3].

    frames_per_latent: 4 for Wan. Decoders produce a characteristic step from one latent to the next, where all joins
    are too, so a join is compared with the steps one and two latents away. InputError with fewer than `least` frames on
    a side.
    """
    check_clip(frames)
    needed, side = least(frames_per_latent), reach(frames_per_latent)
    if frames_per_latent < 1 or not needed <= at <= len(frames) - needed:
        raise InputError(
            f"a join at frame {at} of {len(frames)} cannot be evaluated; it needs {needed} frames on either side"
        )
    first = max(0, at - side)
    around, here = frames[first : at + side], at - first
    found = steps(around)
    jerk = _ratio(second_differences(around), [here - 2, here - 1], frames_per_latent, QUIET_SECOND_LEVELS)
    before, after = (max(QUIET_LEVELS, float(np.median(part))) for part in (found[: here - 1], found[here:]))
    return Seam(
        at,
        _ratio(found, [here - 1], frames_per_latent, QUIET_LEVELS),
        jerk,
        after / before,
        _colour_step(around, here),
        _sharpness_ratio(around, here),
    )


def seams(frames: np.ndarray, at: Iterable[int], frames_per_latent: int = 1) -> list[Seam]:
    """`seam` at each of these frames."""
    return [seam(frames, frame, frames_per_latent) for frame in at]


def _ratio(figures: np.ndarray, at_join: list[int], frames_per_latent: int, quiet: float) -> float:
    """The largest figure at the join over the median of the largest ones at full latents' distance from it."""
    before = at_join[0] // frames_per_latent * frames_per_latent
    shifts = range(-before, len(figures) - at_join[-1], frames_per_latent)
    places = [[place + shift for place in at_join] for shift in shifts if abs(shift) >= len(at_join)]
    usual = float(np.median([figures[group].max() for group in places]))
    return max(quiet, float(figures[at_join].max())) / max(quiet, usual)


def _colour_step(frames: np.ndarray, at: int) -> float:
    colours, side = mean_lab(frames), _COLOUR_REACH
    places = [place for place in (at - side, at, at + side) if side <= place <= len(frames) - side]
    found = {p: float(np.linalg.norm(colours[p : p + side].mean(0) - colours[p - side : p].mean(0))) for p in places}
    at_join = found.pop(at)
    return max(0.0, at_join - max(found.values(), default=0.0))


def _sharpness_ratio(frames: np.ndarray, at: int) -> float:
    before, after = (
        np.median(sharpness(part)) for part in (frames[at - _COLOUR_REACH : at], frames[at : at + _COLOUR_REACH])
    )
    return max(_QUIET_SHARPNESS, float(after)) / max(_QUIET_SHARPNESS, float(before))
