"""Camera motion from images: pan, tilt, zoom and roll by direct registration. No depth, no weights.

Flow between neighbouring frames underestimates motion of a fraction of a pixel, and the error accumulates over a clip.
Therefore one similarity transform is fitted between each frame and the first one (Lucas and Kanade, IJCAI 1981), coarse
to fine, starting from an extrapolation of the last motion, with Cauchy weights against independently moving objects.
Where little of the first frame is left, a later frame becomes the reference. Legend: a similarity transform is (a, b,
x, y): z -> (a + ib) z + x + iy over px from the image's centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

_SMALLEST_PX = 24  # shorter side of the coarsest level
_LARGEST_PX = 128  # of the finest level: more pixels do not improve four parameters
_ROUNDS = 40
_OVERLAP = 0.5  # fraction of the reference's background that a frame must show; otherwise it becomes the reference
_LEAST = 100  # pixels that two frames must have in common
# Least weighted correlation of two registered frames: .9 and more where registration works, under .7 after a cut or in
# noise.
_CORRELATED = 0.75
_PLAIN = 0.6  # grey levels per px: a background with a smaller gradient in some direction shows no motion along it
_STILL = np.array([1.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class CameraFit:
    """Camera motion from the first to the last frame: pan_px, tilt_px, zoom, roll_deg, signed as in
    `videogen.motion.Camera`."""

    pan_px: float
    tilt_px: float
    zoom: float
    roll_deg: float


@dataclass(frozen=True)
class _Level:
    """A level of an image pyramid. gray: float32 [h, w], blurred; background: float32 [h, w], 1 where it is used;
    across, down: gradients of gray."""

    gray: np.ndarray
    background: np.ndarray
    across: np.ndarray
    down: np.ndarray


def registered_camera(frames: np.ndarray, mask: np.ndarray | None = None) -> CameraFit | None:
    """Camera motion over a clip uint8 [n, h, w, 3]. None where it cannot be measured: where the background of any frame
    has too little texture (stripes have none along themselves) or is too small, or does not match the frames before, as
    after a cut.

    mask: bool [n, h, w], the background. InputError for frames or a mask of another shape or dtype, and for fewer than
    2 frames.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2 or 0 in frames.shape or frames.dtype != np.uint8:
        raise InputError(
            f"frames {list(frames.shape)} {frames.dtype} show no camera motion; give at least 2 frames uint8 [n, "
            "height, "
            "width, 3]"
        )
    if mask is not None and (mask.shape != frames.shape[:3] or mask.dtype != bool):
        raise InputError(
            f"mask {list(mask.shape)} {mask.dtype} does not fit frames {list(frames.shape)}; give bool [n, height, "
            "width]"
        )
    pyramids = (_build_pyramid(frame, None if mask is None else mask[index]) for index, frame in enumerate(frames))
    reference = next(pyramids)
    finest, base, moved, speed = reference[0], _STILL, _STILL, _STILL
    for pyramid in pyramids:
        if _is_plain(reference[0]) or _is_plain(pyramid[0]):
            return None
        found = _register(reference, pyramid, _compose(speed, moved))
        if found is None:
            return None
        moved, speed = found, _compose(found, _inverse(moved))
        if _overlap(reference[0], pyramid[0], moved) < _OVERLAP:
            reference, base, moved = pyramid, _compose(moved, base), _STILL
    total = _compose(moved, base)
    scale = frames.shape[2] / finest.gray.shape[1]
    a, b, x, y = total
    return CameraFit(float(-x * scale), float(y * scale), float(np.hypot(a, b)), -float(np.rad2deg(np.arctan2(b, a))))


def _build_pyramid(frame: np.ndarray, mask: np.ndarray | None) -> list[_Level]:
    """Levels, finest first."""
    import cv2

    gray = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY).astype(np.float32)
    background = np.ones_like(gray) if mask is None else mask.astype(np.float32)
    height, width = gray.shape
    shrink = max(1.0, min(height, width) / _LARGEST_PX)
    found: list[_Level] = []
    while not found or min(height, width) / shrink >= _SMALLEST_PX:
        size = (round(width / shrink), round(height / shrink))
        small = cv2.GaussianBlur(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
        across, down = (cv2.Sobel(small, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
        found.append(_Level(small, cv2.resize(background, size, interpolation=cv2.INTER_AREA), across, down))
        shrink *= 2
    return found


def _is_plain(level: _Level) -> bool:
    """Whether the background has too little texture in some direction."""
    chosen = level.background > 0.9
    if chosen.sum() < _LEAST:
        return True
    gradients = np.stack([level.across[chosen], level.down[chosen]]).astype(np.float64)
    return bool(np.linalg.eigvalsh(gradients @ gradients.T / chosen.sum())[0] < _PLAIN**2)


def _register(before: list[_Level], after: list[_Level], guess: np.ndarray) -> np.ndarray | None:
    """The similarity transform from positions in one frame to those in the other, coarse to fine; None where the frames
    do not correlate under it."""
    correlation = 0.0
    for level in reversed(range(len(before))):
        scale = before[level].gray.shape[1] / before[0].gray.shape[1]
        guess, correlation = _fit_level(before[level], after[level], guess * (1, 1, scale, scale))
        guess = guess / (1, 1, scale, scale)
    return guess if correlation >= _CORRELATED else None


def _fit_level(before: _Level, after: _Level, guess: np.ndarray) -> tuple[np.ndarray, float]:
    """Gauss-Newton over the grey levels, invariant to their mean and contrast; and the correlation over the common
    background."""
    xs, ys = _centred(before.gray.shape)
    correlation = 0.0
    for _ in range(_ROUNDS):
        background, gray, across, down = _sample(after, guess)
        chosen = (before.background > 0.9) & (background > 0.9)
        if chosen.sum() < _LEAST:
            return guess, 0.0
        target, warped = before.gray[chosen].astype(np.float64), gray[chosen].astype(np.float64)
        contrast = target.std() / max(float(warped.std()), 1e-6)
        residual = target - target.mean() - contrast * (warped - warped.mean())
        slopes = (
            np.stack([across * xs + down * ys, down * xs - across * ys, across, down], -1)[chosen].astype(np.float64)
            * contrast
        )
        weight = 1 / np.sqrt(1 + (residual / (1.5 * np.median(np.abs(residual)) + 1e-6)) ** 2)
        correlation = _weighted_correlation(target, warped, weight**2)
        change = np.linalg.lstsq((slopes - slopes.mean(0)) * weight[:, None], residual * weight, rcond=None)[0]
        guess = guess + change
        if np.abs(change[:2]).max() * max(before.gray.shape) < 1e-3 and np.abs(change[2:]).max() < 1e-3:
            break
    return guess, correlation


def _weighted_correlation(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> float:
    (variance, covariance), (_, other_variance) = np.cov(first, second, aweights=weight)
    return float(covariance / max((variance * other_variance) ** 0.5, 1e-6))


def _sample(level: _Level, similarity: np.ndarray) -> list[np.ndarray]:
    """Background, gray and its gradients at the positions to which a similarity transform maps each pixel; outside the
    image there is no background."""
    import cv2

    xs, ys = _centred(level.gray.shape)
    a, b, x, y = similarity
    height, width = level.gray.shape
    u, v = (
        (a * xs - b * ys + x + (width - 1) / 2).astype(np.float32),
        (b * xs + a * ys + y + (height - 1) / 2).astype(np.float32),
    )
    cubic = [cv2.remap(values, u, v, cv2.INTER_CUBIC) for values in (level.gray, level.across, level.down)]
    return [cv2.remap(level.background, u, v, cv2.INTER_LINEAR), *cubic]


def _centred(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """x and y [h, w] in px from the centre."""
    ys, xs = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
    return xs - (shape[1] - 1) / 2, ys - (shape[0] - 1) / 2


def _compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The similarity transform `first`, then `second`."""
    turn, shift = (complex(*part) for part in (second[:2], second[2:]))
    turned, moved = turn * complex(*first[:2]), turn * complex(*first[2:]) + shift
    return np.array([turned.real, turned.imag, moved.real, moved.imag])


def _inverse(similarity: np.ndarray) -> np.ndarray:
    turn = 1 / complex(*similarity[:2])
    shift = -turn * complex(*similarity[2:])
    return np.array([turn.real, turn.imag, shift.real, shift.imag])


def _overlap(reference: _Level, level: _Level, similarity: np.ndarray) -> float:
    """Fraction of the reference's background that is visible in a level."""
    background = reference.background > 0.9
    return float((background & (_sample(level, similarity)[0] > 0.9)).sum() / background.sum())
