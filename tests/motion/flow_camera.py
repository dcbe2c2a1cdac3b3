"""Camera fit to exact background flow, to compare plans and measured flow with the requested camera."""

from __future__ import annotations

import numpy as np

from videogen.metrics.registration import CameraFit


def fit_camera(flow: np.ndarray, mask: np.ndarray | None = None, *, rounds: int = 8) -> CameraFit:
    """The pan, tilt, zoom and roll over the clip that explain the flow [n, 2, h, w] of a background.

    A similarity is fitted to each pair with iteratively reweighted least squares (Cauchy weights); the fits are
    composed. mask: bool [n, h, w], True for background.
    """
    chosen = np.ones((len(flow), *flow.shape[2:]), bool) if mask is None else mask
    ys, xs = np.mgrid[0 : flow.shape[2], 0 : flow.shape[3]]
    positions = (xs - (flow.shape[3] - 1) / 2) + 1j * (ys - (flow.shape[2] - 1) / 2)
    total, shift = 1 + 0j, 0j  # z -> total * z + shift, about the centre
    for field, selected in zip(flow.astype(np.float64), chosen, strict=True):
        rotation, translation = _fit_similarity(
            positions[selected], (positions + field[0] + 1j * field[1])[selected], rounds
        )
        total, shift = rotation * total, rotation * shift + translation
    return CameraFit(-shift.real, shift.imag, abs(total), -float(np.rad2deg(np.angle(total))))


def _fit_similarity(start: np.ndarray, end: np.ndarray, rounds: int) -> tuple[complex, complex]:
    """Fit (a, b) in end = a * start + b to complex points."""
    weight = np.ones(len(start))
    rotation, translation = 1 + 0j, 0j
    for _ in range(rounds):
        source_mean, target_mean = np.average(start, weights=weight), np.average(end, weights=weight)
        spread = (weight * np.abs(start - source_mean) ** 2).sum()
        rotation = (
            complex((weight * np.conj(start - source_mean) * (end - target_mean)).sum() / spread)
            if spread > 0
            else 1 + 0j
        )
        translation = complex(target_mean - rotation * source_mean)
        residual = np.abs(end - rotation * start - translation)
        weight = 1 / (1 + (residual / max(1e-6, 2.4 * float(np.median(residual)))) ** 2)
    return rotation, translation
