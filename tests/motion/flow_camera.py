"""The camera that exact flow of a background amounts to, to compare plans and measured flow with the camera
requested."""

from __future__ import annotations

import numpy as np

from videogen.metrics.registration import CameraFit


def fitted_camera(flow: np.ndarray, mask: np.ndarray | None = None, *, rounds: int = 8) -> CameraFit:
    """The pan, tilt, zoom and roll that flow [n, 2, h, w] of a background amounts to over the clip.

    A similarity is fitted to each pair, large residuals weighing less (iterated, Cauchy weights), and all are chained.
    mask: bool [n, h, w], what is background.
    """
    chosen = np.ones((len(flow), *flow.shape[2:]), bool) if mask is None else mask
    ys, xs = np.mgrid[0 : flow.shape[2], 0 : flow.shape[3]]
    at = (xs - (flow.shape[3] - 1) / 2) + 1j * (ys - (flow.shape[2] - 1) / 2)
    total, shift = 1 + 0j, 0j  # z -> total * z + shift, about the centre
    for field, own in zip(flow.astype(np.float64), chosen, strict=True):
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
