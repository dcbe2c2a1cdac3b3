"""Whether a long clip wanders off: its colours, contrast and sharpness, segment by segment, and their trend. No
weights.

A segment is described as it comes (`describe`), the trend is judged once all are there (`drift`). The trend is Theil
and Sen's: the median of the slopes between all pairs of segments (Sen 1968, JASA 63), which a scene here or there does
not bend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

from .frame_statistics import check_clip, lab, luma, sharpness

COLOUR_LIMIT_DE = 5.0  # a difference that is seen at a glance, without comparing side by side
CONTRAST_LIMIT = 1.25  # by which factor contrast may change from the clip's start to its end
SHARPNESS_LIMIT = 1.5
CLIPPED_LIMIT = 0.1  # by how much the share of clipped pixels may rise
_LEAST_CONTRAST, _LEAST_SHARPNESS = 1.0, 1.0  # smaller ones count as these


@dataclass(frozen=True)
class Interval:
    """A stretch of a clip in figures, means over its frames.

    lab: mean Lab colour; chroma: mean distance from grey in Lab; contrast: standard deviation of brightness, levels of
    255; clipped: share of pixels with a channel at 0 or 255; sharpness: variance of the Laplacian, levels squared.
    """

    lab: tuple[float, float, float]
    chroma: float
    contrast: float
    clipped: float
    sharpness: float


@dataclass(frozen=True)
class Drift:
    """How a clip's trend goes, over its whole length; of one that stays as it is colour_de and clipped are 0, the
    ratios 1.

    colour_de: length of the trend of the mean Lab colour; contrast, sharpness: end over start by the trend of their
    logarithms; chroma, clipped: change by their trends. gap_de: Lab distance of the last segment from the first,
    whatever lay between. per_minute_de: colour_de over the clip's length.
    """

    colour_de: float
    contrast: float
    sharpness: float
    chroma: float
    clipped: float
    gap_de: float
    per_minute_de: float

    def faults(self) -> tuple[str, ...]:
        """Which limits it breaks: colour, contrast, sharpness, clipped."""
        found = {
            "colour": self.colour_de > COLOUR_LIMIT_DE,
            "contrast": not 1 / CONTRAST_LIMIT <= self.contrast <= CONTRAST_LIMIT,
            "sharpness": not 1 / SHARPNESS_LIMIT <= self.sharpness <= SHARPNESS_LIMIT,
            "clipped": self.clipped > CLIPPED_LIMIT,
        }
        return tuple(name for name, is_so in found.items() if is_so)


def describe(frames: np.ndarray) -> Interval:
    """A segment's figures, of uint8 [n, h, w, 3]."""
    check_clip(frames)
    colours, chroma, contrast, clipped = np.zeros(3), 0.0, 0.0, 0.0
    for frame in frames:
        found = lab(frame)
        colours += found.mean((0, 1))
        chroma += float(np.hypot(found[..., 1], found[..., 2]).mean())
        contrast += float(luma(frame).std())
        clipped += float(((frame == 0) | (frame == 255)).any(-1).mean())
    mean, n = colours / len(frames), len(frames)
    return Interval(
        (float(mean[0]), float(mean[1]), float(mean[2])),
        chroma / n,
        contrast / n,
        clipped / n,
        float(sharpness(frames).mean()),
    )


def joined(parts: Sequence[tuple[Interval, int]]) -> Interval:
    """One segment of parts that were described by themselves, each with its count of frames."""
    figures = np.array([[*part.lab, part.chroma, part.contrast, part.clipped, part.sharpness] for part, _ in parts])
    mean = np.average(figures, axis=0, weights=[count for _, count in parts]).tolist()
    return Interval((mean[0], mean[1], mean[2]), *mean[3:])


def drift(segments: Sequence[Interval], seconds: float) -> Drift:
    """The trend of a clip's segments, all of one length, in order; seconds: of the whole clip."""
    if len(segments) < 3:
        raise InputError(f"{len(segments)} segments show no trend; cut the clip into at least 3")
    if not seconds > 0:
        raise InputError(f"seconds={seconds} must be above 0")
    colours = np.array([segment.lab for segment in segments])
    contrast = np.log([max(_LEAST_CONTRAST, segment.contrast) for segment in segments])
    sharp = np.log([max(_LEAST_SHARPNESS, segment.sharpness) for segment in segments])
    colour = float(np.linalg.norm([_change(channel) for channel in colours.T]))
    return Drift(
        colour,
        float(np.exp(_change(contrast))),
        float(np.exp(_change(sharp))),
        _change(np.array([segment.chroma for segment in segments])),
        _change(np.array([segment.clipped for segment in segments])),
        float(np.linalg.norm(colours[-1] - colours[0])),
        60 * colour / seconds,
    )


def strayed(first: Interval, now: Interval) -> tuple[str, ...]:
    """Which of a drift's limits one segment is beyond, held against the one that the shot began with."""
    colour = float(np.linalg.norm(np.subtract(now.lab, first.lab)))
    contrast = max(_LEAST_CONTRAST, now.contrast) / max(_LEAST_CONTRAST, first.contrast)
    sharp = max(_LEAST_SHARPNESS, now.sharpness) / max(_LEAST_SHARPNESS, first.sharpness)
    return Drift(
        colour, contrast, sharp, now.chroma - first.chroma, now.clipped - first.clipped, colour, colour
    ).faults()


def theil_sen(values: np.ndarray) -> float:
    """The median slope between all pairs of values [n] one apart: change a step."""
    before, after = np.triu_indices(len(values), 1)
    return float(np.median((values[after] - values[before]) / (after - before)))


def _change(values: np.ndarray) -> float:
    """What the trend amounts to over all segments."""
    return theil_sen(values) * (len(values) - 1)
