"""Whether a clip shows where its chunks join: how the frames at a join differ from what the clip does by itself. No
weights.

A join at frame s lies between s - 1 and s. Each figure compares it with the `reach` frames on either side and nothing
further, so that a long video is judged segment by segment. The limits stand just outside what clips without joins show: of
450 places in rendered scenes, 99 % have a ratio below 1.05, a jerk below 1.5, a pace within 1.7, a colour step below
0.1 and sharpness within 1.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

from .frame_statistics import bends, check_clip, mean_lab, sharpness, steps

RATIO_LIMIT = 1.25  # a step larger than its neighbours by so much is seen as a jump
STALL_LIMIT = 0.5  # a step so much smaller is seen as a stop
JERK_LIMIT = 2.0
PACE_LIMIT = 2.0
COLOUR_LIMIT_DE = 1.0  # the least difference that an eye tells side by side
SHARPNESS_LIMIT = 1.5
QUIET_LEVELS, QUIET_BEND_LEVELS = (
    0.05,
    0.25,
)  # of 255: smaller differences count as these, so that noise in a still picture is no jump
_REACH, _COLOUR_REACH = 8, 4
_QUIET_SHARPNESS = 1.0


@dataclass(frozen=True)
class Seam:
    """How a join at `frame` stands out; of a clip that runs on, the ratios are about 1 and colour_de about 0.

    ratio: the step over the join over the median step around it. jerk: the same of second differences, the larger of
    the two that reach over the join: a change of direction. pace: the median step after over the one before. colour_de:
    how far the mean Lab colour of the 4 frames after lies from that of the 4 before, less what the same measure gives 4
    frames earlier or later. sharpness: the Laplacian's variance after over before.
    """

    frame: int
    ratio: float
    jerk: float
    pace: float
    colour_de: float
    sharpness: float

    def faults(self) -> tuple[str, ...]:
        """Which limits it breaks: jump, stall, jerk, pace, colour, sharpness."""
        found = {
            "jump": self.ratio > RATIO_LIMIT,
            "stall": self.ratio < STALL_LIMIT,
            "jerk": self.jerk > JERK_LIMIT,
            "pace": not 1 / PACE_LIMIT <= self.pace <= PACE_LIMIT,
            "colour": self.colour_de > COLOUR_LIMIT_DE,
            "sharpness": not 1 / SHARPNESS_LIMIT <= self.sharpness <= SHARPNESS_LIMIT,
        }
        return tuple(name for name, is_so in found.items() if is_so)


def reach(beat: int = 1) -> int:
    """How many frames on either side of a join are looked at."""
    return max(_REACH, 2 * beat + 1)


def least(beat: int = 1) -> int:
    """How many frames a join needs on either side."""
    return max(_COLOUR_REACH, beat + 1)


def seam(frames: np.ndarray, at: int, beat: int = 1) -> Seam:
    """How the join before frame `at` of uint8 [n, h, w, 3] stands out.

    beat: frames a latent (4 for Wan). Decoders have a step of their own from one latent to the next, where all joins
    lie too, so a join is compared with the steps one and two beats away. InputError with fewer than `least` frames on a
    side.
    """
    check_clip(frames)
    if beat < 1 or not least(beat) <= at <= len(frames) - least(beat):
        raise InputError(
            f"a join at frame {at} of {len(frames)} cannot be judged; it needs {least(beat)} frames on either side"
        )
    first = max(0, at - reach(beat))
    around, here = frames[first : at + reach(beat)], at - first
    found = steps(around)
    jerk = _ratio(bends(around), [here - 2, here - 1], beat, QUIET_BEND_LEVELS)
    before, after = (max(QUIET_LEVELS, float(np.median(part))) for part in (found[: here - 1], found[here:]))
    return Seam(
        at,
        _ratio(found, [here - 1], beat, QUIET_LEVELS),
        jerk,
        after / before,
        _colour(around, here),
        _sharp(around, here),
    )


def seams(frames: np.ndarray, at: Iterable[int], beat: int = 1) -> list[Seam]:
    """`seam` at each of these frames."""
    return [seam(frames, frame, beat) for frame in at]


def _ratio(figures: np.ndarray, own: list[int], beat: int, quiet: float) -> float:
    """The largest of the join's own figures over the median of the largest of those whole beats away."""
    shifts = range(-(own[0] // beat * beat), len(figures) - own[-1], beat)
    places = [[place + shift for place in own] for shift in shifts if abs(shift) >= len(own)]
    usual = float(np.median([figures[group].max() for group in places]))
    return max(quiet, float(figures[own].max())) / max(quiet, usual)


def _colour(frames: np.ndarray, at: int) -> float:
    colours, side = mean_lab(frames), _COLOUR_REACH
    places = [place for place in (at - side, at, at + side) if side <= place <= len(frames) - side]
    found = {p: float(np.linalg.norm(colours[p : p + side].mean(0) - colours[p - side : p].mean(0))) for p in places}
    own = found.pop(at)
    return max(0.0, own - max(found.values(), default=0.0))


def _sharp(frames: np.ndarray, at: int) -> float:
    before, after = (
        np.median(sharpness(part)) for part in (frames[at - _COLOUR_REACH : at], frames[at : at + _COLOUR_REACH])
    )
    return max(_QUIET_SHARPNESS, float(after)) / max(_QUIET_SHARPNESS, float(before))
