"""Drift of a long clip: the trend of its colours, contrast and sharpness over intervals. No weights.

Intervals are described one at a time (`describe`), the trend is computed at the end (`drift`). It is the Theil-Sen
estimator: the median of the slopes between all pairs of intervals (Sen 1968, JASA 63), which is robust to single
scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

from .frame_statistics import check_clip, lab, luma, sharpness

COLOUR_LIMIT_DE = 5.0  # a difference that is visible at a glance, without comparing side by side
CONTRAST_LIMIT = 1.25  # the factor by which contrast may change from the clip's start to its end
SHARPNESS_LIMIT = 1.5
CLIPPED_LIMIT = 0.1  # the increase of the fraction of clipped pixels
_LEAST_CONTRAST, _LEAST_SHARPNESS = 1.0, 1.0  # smaller values count as these


@dataclass(frozen=True)
class Interval:
    """Statistics of an interval of a clip, means over its frames.

    lab: mean Lab colour; chroma: mean distance from grey in Lab; contrast: standard deviation of brightness, levels of
    255; clipped: fraction of pixels with a channel at 0 or 255; sharpness: variance of the Laplacian, levels squared.
    """

    lab: tuple[float, float, float]
    chroma: float
    contrast: float
    clipped: float
    sharpness: float


@dataclass(frozen=True)
class Drift:
    """Trend over the full length of a clip. Without drift, colour_de and clipped are 0 and the ratios 1.

    colour_de: length of the trend of the mean Lab colour; contrast, sharpness: ratio of end to start by the trend of
    their logarithms; chroma, clipped: change by their trends. gap_de: Lab distance between the last interval and the
    first, regardless of those between. per_minute_de: colour_de per minute of the clip.
    """

    colour_de: float
    contrast: float
    sharpness: float
    chroma: float
    clipped: float
    gap_de: float
    per_minute_de: float

    def faults(self) -> tuple[str, ...]:
        """The limits that are exceeded: colour, contrast, sharpness, clipped."""
        exceeded = {
            "colour": self.colour_de > COLOUR_LIMIT_DE,
            "contrast": not 1 / CONTRAST_LIMIT <= self.contrast <= CONTRAST_LIMIT,
            "sharpness": not 1 / SHARPNESS_LIMIT <= self.sharpness <= SHARPNESS_LIMIT,
            "clipped": self.clipped > CLIPPED_LIMIT,
        }
        return tuple(name for name, is_exceeded in exceeded.items() if is_exceeded)


def describe(frames: np.ndarray) -> Interval:
    """Statistics of an interval uint8 [n, h, w, 3]."""
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


def merge_intervals(parts: Sequence[tuple[Interval, int]]) -> Interval:
    """One interval from parts that were described separately, each with its frame count."""
    figures = np.array([[*part.lab, part.chroma, part.contrast, part.clipped, part.sharpness] for part, _ in parts])
    mean = np.average(figures, axis=0, weights=[count for _, count in parts]).tolist()
    return Interval((mean[0], mean[1], mean[2]), *mean[3:])


def drift(intervals: Sequence[Interval], seconds: float) -> Drift:
    """The trend over a clip's intervals, all of one length, in order; seconds: of the entire clip."""
    if len(intervals) < 3:
        raise InputError(f"{len(intervals)} intervals show no trend; divide the clip into at least 3")
    if not seconds > 0:
        raise InputError(f"seconds={seconds} must be above 0")
    colours = np.array([interval.lab for interval in intervals])
    contrast = np.log([max(_LEAST_CONTRAST, interval.contrast) for interval in intervals])
    sharp = np.log([max(_LEAST_SHARPNESS, interval.sharpness) for interval in intervals])
    colour = float(np.linalg.norm([_change(channel) for channel in colours.T]))
    return Drift(
        colour,
        float(np.exp(_change(contrast))),
        float(np.exp(_change(sharp))),
        _change(np.array([interval.chroma for interval in intervals])),
        _change(np.array([interval.clipped for interval in intervals])),
        float(np.linalg.norm(colours[-1] - colours[0])),
        60 * colour / seconds,
    )


def drift_faults(first: Interval, now: Interval) -> tuple[str, ...]:
    """The drift limits that one interval exceeds, compared with the first interval of its shot."""
    colour = float(np.linalg.norm(np.subtract(now.lab, first.lab)))
    contrast = max(_LEAST_CONTRAST, now.contrast) / max(_LEAST_CONTRAST, first.contrast)
    sharp = max(_LEAST_SHARPNESS, now.sharpness) / max(_LEAST_SHARPNESS, first.sharpness)
    return Drift(
        colour, contrast, sharp, now.chroma - first.chroma, now.clipped - first.clipped, colour, colour
    ).faults()


def theil_sen(values: np.ndarray) -> float:
    """Theil-Sen slope of equally spaced values [n]: the median slope over all pairs, per step."""
    before, after = np.triu_indices(len(values), 1)
    return float(np.median((values[after] - values[before]) / (after - before)))


def _change(values: np.ndarray) -> float:
    """Total change of the trend over all intervals."""
    return theil_sen(values) * (len(values) - 1)
