"""What a camera did, from exact flow of a background: pan, tilt, zoom and roll. For pictures use `registration`:
measured flow is short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from videogen.core.errors import InputError

from .motion import check_flow, checked_mask


@dataclass(frozen=True)
class CameraFit:
    """What the camera did between first and last frame: pan_px, tilt_px, zoom, roll_deg, signed as
    `videogen.motion.Camera`."""

    pan_px: float
    tilt_px: float
    zoom: float
    roll_deg: float


def fitted_camera(flow: np.ndarray, mask: np.ndarray | None = None, *, rounds: int = 8) -> CameraFit:
    """The pan, tilt, zoom and roll that flow [n, 2, h, w] of a background amounts to over the clip.

    A similarity is fitted to each pair, large residuals weighing less (iterated, Cauchy weights), and all are chained.
    mask: bool [n, h, w], what is background.
    """
    check_flow(flow, flow)
    chosen = checked_mask(mask, flow)
    ys, xs = np.mgrid[0 : flow.shape[2], 0 : flow.shape[3]]
    at = (xs - (flow.shape[3] - 1) / 2) + 1j * (ys - (flow.shape[2] - 1) / 2)
    total, shift = 1 + 0j, 0j  # z -> total * z + shift, about the centre
    for field, own in zip(flow.astype(np.float64), chosen, strict=True):
        if not own.any():
            raise InputError("a pair of frames has no background to fit a camera to; widen the mask")
        turn, move = _similarity(at[own], (at + field[0] + 1j * field[1])[own], rounds)
        total, shift = turn * total, turn * shift + move
    return CameraFit(-shift.real, shift.imag, abs(total), -float(np.rad2deg(np.angle(total))))


def _similarity(start: np.ndarray, end: np.ndarray, rounds: int) -> tuple[complex, complex]:
    """(a, b) of end = a * start + b over complex points."""
    weight = np.ones(len(start))
    turn, move = 1 + 0j, 0j
    for _ in range(rounds):
        middle, there = np.average(start, weights=weight), np.average(end, weights=weight)
        spread = (weight * np.abs(start - middle) ** 2).sum()
        turn = complex((weight * np.conj(start - middle) * (end - there)).sum() / spread) if spread > 0 else 1 + 0j
        move = complex(there - turn * middle)
        residual = np.abs(end - turn * start - move)
        weight = 1 / (1 + (residual / max(1e-6, 2.4 * float(np.median(residual)))) ** 2)
    return turn, move
