"""Tests of white Gaussian noise: statistics with a known distribution for true noise. No weights. For motion of noise
see `coherence`.

Input: noise float [c, h, w], one latent frame, such as `videogen.schedulers.warped_noise(...)[0, :, f]`. A `score` is
in standard deviations under the null hypothesis: about 1 for true noise, above 4 almost never. Legend: c channels, h w
latent height and width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from videogen.core.errors import InputError

LAGS = ((0, 1), (1, 0))  # the neighbours of Moran's I: right and below, hence also left and above
_FAULT_LAGS = (*LAGS, (1, 1), (0, 2), (2, 0))
_UNLIKELY_P, _UNLIKELY_SCORE = 1e-3, 4.0
_RING = 64  # least number of frequencies per ring of the spectrum
_MOST_RINGS = 16


@dataclass(frozen=True)
class KolmogorovSmirnov:
    """distance: largest difference between the noise's distribution function and the normal one; p: probability of at
    least that distance for true noise."""

    distance: float
    p: float


@dataclass(frozen=True)
class Moran:
    """index: mean correlation of neighbours, 0 for white noise; score: in standard deviations."""

    index: float
    score: float


@dataclass(frozen=True)
class Spectrum:
    """flatness: geometric over arithmetic mean of the rings' power, 1 for white noise; score: of the ring furthest from
    the mean."""

    flatness: float
    score: float


@dataclass(frozen=True)
class Moments:
    """mean, std and excess kurtosis of all values: 0, 1 and 0 for standard normal noise; scores: of the three."""

    mean: float
    std: float
    kurtosis: float
    scores: tuple[float, float, float]


@dataclass(frozen=True)
class ChannelCorrelation:
    """largest: absolute correlation of the most correlated pair of channels; score: in standard deviations of one
    pair."""

    largest: float
    score: float


def kolmogorov_smirnov(noise: ArrayLike) -> KolmogorovSmirnov:
    """Distance of all values of noise [c, h, w] from N(0, 1) (Kolmogorov 1933; p as in Stephens 1970, good from a few
    dozen values on)."""
    ordered = np.sort(checked_noise(noise).ravel())
    expected = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in ordered.tolist()])
    steps = np.arange(len(ordered) + 1) / len(ordered)
    distance = float(max((expected - steps[:-1]).max(), (steps[1:] - expected).max()))
    root = math.sqrt(len(ordered))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # the series below no longer converges
        return KolmogorovSmirnov(distance, 1.0)
    terms = [(-1) ** (k - 1) * math.exp(-2 * k**2 * scaled**2) for k in range(1, 101)]
    return KolmogorovSmirnov(distance, min(1.0, max(0.0, 2 * sum(terms))))


def morans_i(noise: ArrayLike, lags: Sequence[tuple[int, int]] = LAGS) -> Moran:
    """Moran's I of noise [c, h, w] (Moran 1950), mean over the channels; its score is that of the mean, under normality
    (Cliff and Ord).

    lags: (dy, dx), 0 or more, between the pixels of a pair of neighbours.
    """
    values = checked_noise(noise)
    height, width = values.shape[1:]
    if not lags or any(dy < 0 or dx < 0 or dy + dx == 0 or dy >= height or dx >= width for dy, dx in lags):
        raise InputError(f"lags {list(lags)} must be (dy, dx) from (0, 1) on, less than the noise's {height} x {width}")
    centred = values - values.mean((1, 2), keepdims=True)
    products, degree = np.zeros(len(values)), np.zeros((height, width))
    for dy, dx in lags:
        near, far = (slice(0, height - dy), slice(0, width - dx)), (slice(dy, None), slice(dx, None))
        products += (centred[:, near[0], near[1]] * centred[:, far[0], far[1]]).sum((1, 2))
        degree[near] += 1
        degree[far] += 1
    n, weight = height * width, float(degree.sum())
    index = float(np.mean(n / weight * 2 * products / (centred**2).sum((1, 2))))
    variance = (n**2 * 2 * weight - n * 4 * float((degree**2).sum()) + 3 * weight**2) / ((n**2 - 1) * weight**2) - 1 / (
        n - 1
    ) ** 2
    return Moran(index, (index + 1 / (n - 1)) / math.sqrt(variance / len(values)))


def spectral_flatness(noise: ArrayLike) -> Spectrum:
    """Power of noise [c, h, w] over rings with equal numbers of frequencies, averaged over channels. Needs at least 128
    values per channel."""
    values = checked_noise(noise)
    count = values[0].size
    if count < 2 * _RING:
        raise InputError(f"a spectrum needs at least {2 * _RING} values per channel, {list(values.shape)} has {count}")
    power = (np.abs(np.fft.fft2(values)) ** 2).mean(0).ravel() / count
    fy, fx = (np.fft.fftfreq(n) for n in values.shape[1:])
    rings = np.array_split(
        np.argsort(np.hypot(fy[:, None], fx).ravel(), kind="stable"), min(_MOST_RINGS, count // _RING)
    )
    means = np.array([power[ring].mean() for ring in rings]) / power.mean()
    scores = [abs(mean - 1) * math.sqrt(len(ring) * len(values) / 2) for mean, ring in zip(means, rings, strict=True)]
    return Spectrum(float(np.exp(np.log(np.maximum(means, 1e-300)).mean())), float(max(scores)))


def moments(noise: ArrayLike) -> Moments:
    """Mean, standard deviation and excess kurtosis over all values of noise [c, h, w]."""
    values = checked_noise(noise)
    mean, variance, n = float(values.mean()), float(values.var()), values.size
    kurtosis = float(((values - mean) ** 4).mean() / variance**2 - 3)
    scores = (mean * math.sqrt(n), (variance - 1) * math.sqrt(n / 2), kurtosis * math.sqrt(n / 24))
    return Moments(mean, math.sqrt(variance), kurtosis, scores)


def channel_correlation(noise: ArrayLike) -> ChannelCorrelation:
    """The pair of channels of noise [c, h, w] with the largest absolute correlation; needs at least two channels."""
    values = checked_noise(noise)
    if len(values) < 2:
        raise InputError(f"channels of {list(values.shape)} cannot be correlated: it has one; two are needed")
    pairs = np.corrcoef(values.reshape(len(values), -1))[np.triu_indices(len(values), 1)]
    largest = float(np.abs(pairs).max())
    return ChannelCorrelation(largest, largest * math.sqrt(values[0].size))


def noise_faults(noise: ArrayLike) -> list[str]:
    """The tests by which noise [c, h, w] is rejected as white standard normal noise: one line for each statistic of
    this module with a value that true noise almost never has.

    Kolmogorov-Smirnov below p = 0.001, scores beyond 4 standard deviations, or equally unlikely where a score is the
    worst of many.
    """
    found, values = moments(noise), checked_noise(noise)
    pairs = len(values) * (len(values) - 1) // 2
    rows = [(name, abs(score), 1) for name, score in zip(("mean", "variance", "kurtosis"), found.scores, strict=True)]
    rows += [(f"Moran {dy},{dx}", abs(morans_i(noise, [(dy, dx)]).score), len(_FAULT_LAGS)) for dy, dx in _FAULT_LAGS]
    rows += [("PSD", spectral_flatness(noise).score, _MOST_RINGS)]
    rows += [("channels", channel_correlation(noise).score, pairs)] if pairs else []
    faults = [
        f"{name} {score:.3g} > {worst_score(many):.3g}" for name, score, many in rows if not score <= worst_score(many)
    ]
    p = kolmogorov_smirnov(noise).p
    return ([] if p >= _UNLIKELY_P else [f"K-S p {p:.2g} < {_UNLIKELY_P}"]) + faults


def worst_score(many: int) -> float:
    """The score that the worst of `many` statistics reaches about as rarely as a single one reaches 4."""
    return math.sqrt(_UNLIKELY_SCORE**2 + 2 * math.log(many))


def checked_noise(noise: ArrayLike) -> np.ndarray:
    """The noise in float64. InputError where it is not [c, h, w], not finite, or constant in a channel."""
    values = np.asarray(noise, np.float64)
    if values.ndim != 3 or min(values.shape, default=0) < 1 or values[0].size < 2:
        raise InputError(
            f"noise {list(values.shape)} cannot be tested; give one latent frame [channels, height, width]"
        )
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise InputError(f"noise with {bad} NaN or infinite values cannot be tested")
    if not values.reshape(len(values), -1).std(1).all():
        raise InputError("noise with a constant channel cannot be tested")
    return values
