"""What a camera did, from the pictures themselves: pan, tilt, zoom and roll by direct registration. No depth, no
weights.

Flow between neighbouring frames makes motion of a fraction of a pixel smaller than it is, and over a clip that adds up.
So one similarity is fitted between each frame and the first one (Lucas and Kanade, IJCAI 1981), begun where the last
frame's speed leads to, coarse to fine, with Cauchy weights for what moves by itself. Where little of the first frame is
left, a later one takes its place. Legend: a similarity is (a, b, x, y): z -> (a + ib) z + x + iy over px from the
picture's centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

_SMALLEST_PX = 24  # no coarser pictures than this
_LARGEST_PX = 128  # no finer ones: more pixels tell no more of four numbers
_ROUNDS = 40
_SEEN = 0.5  # share of the reference's ground that must be in a frame; with less, that frame becomes the reference
_LEAST = 100  # pixels that two frames must have in common
_LIKE = 0.75  # least correlation of two registered frames, weighted: .9 and more where it worked, under .7 after a cut or in noise
_PLAIN = 0.6  # grey levels a px: ground whose gradient is less than this in any direction shows no motion along it
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
class _Picture:
    """gray float32 [h, w], blurred; ground: float32 [h, w], 1 where it counts; gradients of gray."""

    gray: np.ndarray
    ground: np.ndarray
    across: np.ndarray
    down: np.ndarray


def registered_camera(frames: np.ndarray, mask: np.ndarray | None = None) -> CameraFit | None:
    """What the camera did over a clip uint8 [n, h, w, 3]; None where it cannot be told: where in any frame the ground
    is too plain (stripes are, along themselves) or too small, or does not show what the frames before did, as after a
    cut.

    mask: bool [n, h, w], what is background.
    InputError for frames or a mask of another shape or dtype, and for less than 2 frames.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2 or 0 in frames.shape or frames.dtype != np.uint8:
        raise InputError(
            f"frames {list(frames.shape)} {frames.dtype} show no camera; it takes at least 2 of uint8 [n, height, width, 3]"
        )
    if mask is not None and (mask.shape != frames.shape[:3] or mask.dtype != bool):
        raise InputError(
            f"mask {list(mask.shape)} {mask.dtype} does not fit frames {list(frames.shape)}; it is bool [n, height, width]"
        )
    shown = (_pyramid(frame, None if mask is None else mask[index]) for index, frame in enumerate(frames))
    reference = next(shown)
    finest, base, moved, speed = reference[0], _STILL, _STILL, _STILL
    for picture in shown:
        if _plain(reference[0]) or _plain(picture[0]):
            return None
        found = _registered(reference, picture, _after(speed, moved))
        if found is None:
            return None
        moved, speed = found, _after(found, _inverse(moved))
        if _common(reference[0], picture[0], moved) < _SEEN:
            reference, base, moved = picture, _after(moved, base), _STILL
    total = _after(moved, base)
    scale = frames.shape[2] / finest.gray.shape[1]
    a, b, x, y = total
    return CameraFit(float(-x * scale), float(y * scale), float(np.hypot(a, b)), -float(np.rad2deg(np.arctan2(b, a))))


def _pyramid(frame: np.ndarray, mask: np.ndarray | None) -> list[_Picture]:
    """Finest first."""
    import cv2

    gray = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY).astype(np.float32)
    ground = np.ones_like(gray) if mask is None else mask.astype(np.float32)
    height, width = gray.shape
    shrink = max(1.0, min(height, width) / _LARGEST_PX)
    found: list[_Picture] = []
    while not found or min(height, width) / shrink >= _SMALLEST_PX:
        size = (round(width / shrink), round(height / shrink))
        small = cv2.GaussianBlur(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
        across, down = (cv2.Sobel(small, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
        found.append(_Picture(small, cv2.resize(ground, size, interpolation=cv2.INTER_AREA), across, down))
        shrink *= 2
    return found


def _plain(picture: _Picture) -> bool:
    """Whether the ground changes too little in some direction."""
    chosen = picture.ground > 0.9
    if chosen.sum() < _LEAST:
        return True
    gradients = np.stack([picture.across[chosen], picture.down[chosen]]).astype(np.float64)
    return bool(np.linalg.eigvalsh(gradients @ gradients.T / chosen.sum())[0] < _PLAIN**2)


def _registered(before: list[_Picture], after: list[_Picture], guess: np.ndarray) -> np.ndarray | None:
    """The similarity that takes places of one frame to those of the other, coarse to fine; None where they are not
    alike under it."""
    likeness = 0.0
    for level in reversed(range(len(before))):
        scale = before[level].gray.shape[1] / before[0].gray.shape[1]
        guess, likeness = _fitted(before[level], after[level], guess * (1, 1, scale, scale))
        guess = guess / (1, 1, scale, scale)
    return guess if likeness >= _LIKE else None


def _fitted(before: _Picture, after: _Picture, guess: np.ndarray) -> tuple[np.ndarray, float]:
    """Gauss-Newton over the grey levels, their mean and contrast left free; and the correlation of what both show."""
    xs, ys = _centred(before.gray.shape)
    likeness = 0.0
    for _ in range(_ROUNDS):
        ground, gray, across, down = _sampled(after, guess)
        chosen = (before.ground > 0.9) & (ground > 0.9)
        if chosen.sum() < _LEAST:
            return guess, 0.0
        wanted, seen = before.gray[chosen].astype(np.float64), gray[chosen].astype(np.float64)
        contrast = wanted.std() / max(float(seen.std()), 1e-6)
        residual = wanted - wanted.mean() - contrast * (seen - seen.mean())
        slopes = (
            np.stack([across * xs + down * ys, down * xs - across * ys, across, down], -1)[chosen].astype(np.float64)
            * contrast
        )
        weight = 1 / np.sqrt(1 + (residual / (1.5 * np.median(np.abs(residual)) + 1e-6)) ** 2)
        likeness = _correlation(wanted, seen, weight**2)
        change = np.linalg.lstsq((slopes - slopes.mean(0)) * weight[:, None], residual * weight, rcond=None)[0]
        guess = guess + change
        if np.abs(change[:2]).max() * max(before.gray.shape) < 1e-3 and np.abs(change[2:]).max() < 1e-3:
            break
    return guess, likeness


def _correlation(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> float:
    (own, both), (_, other) = np.cov(first, second, aweights=weight)
    return float(both / max((own * other) ** 0.5, 1e-6))


def _sampled(picture: _Picture, where: np.ndarray) -> list[np.ndarray]:
    """Ground, gray and its gradients at the places that a similarity takes each pixel to; no ground beyond the
    picture."""
    import cv2

    xs, ys = _centred(picture.gray.shape)
    a, b, x, y = where
    height, width = picture.gray.shape
    u, v = (
        (a * xs - b * ys + x + (width - 1) / 2).astype(np.float32),
        (b * xs + a * ys + y + (height - 1) / 2).astype(np.float32),
    )
    cubic = [cv2.remap(layer, u, v, cv2.INTER_CUBIC) for layer in (picture.gray, picture.across, picture.down)]
    return [cv2.remap(picture.ground, u, v, cv2.INTER_LINEAR), *cubic]


def _centred(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """x and y [h, w] in px from the centre."""
    ys, xs = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float64)
    return xs - (shape[1] - 1) / 2, ys - (shape[0] - 1) / 2


def _after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    turn, shift = (complex(*part) for part in (second[:2], second[2:]))
    turned, moved = turn * complex(*first[:2]), turn * complex(*first[2:]) + shift
    return np.array([turned.real, turned.imag, moved.real, moved.imag])


def _inverse(similarity: np.ndarray) -> np.ndarray:
    turn = 1 / complex(*similarity[:2])
    shift = -turn * complex(*similarity[2:])
    return np.array([turn.real, turn.imag, shift.real, shift.imag])


def _common(reference: _Picture, picture: _Picture, where: np.ndarray) -> float:
    """The share of the reference's ground that a picture shows."""
    ground = reference.ground > 0.9
    return float((ground & (_sampled(picture, where)[0] > 0.9)).sum() / ground.sum())
