"""Fidelity to a reference clip: PSNR and SSIM of uint8 frames [frame, height, width, 3]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from videogen.core.errors import InputError


def psnr_db(frames: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio over the entire clip, in dB; infinite for equal clips."""
    _check(frames, reference)
    error = float(np.mean((frames.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(frames: np.ndarray, reference: np.ndarray, check: Callable[[], None] = lambda: None) -> float:
    """Structural similarity, mean over frames and channels, 1 for equal clips (Wang et al. 2004: 11x11 Gaussian
    window of sd 1.5, K1 = 0.01, K2 = 0.03, without padding). check: called before each frame, may stop the work."""
    _check(frames, reference)
    if min(frames.shape[1:3]) < 11:
        raise InputError(f"SSIM needs frames of at least 11x11 px, these are {frames.shape[2]}x{frames.shape[1]}")
    axis = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(axis**2) / (2 * 1.5**2))
    window = torch.outer(line, line)[None, None] / line.sum() ** 2
    values = []
    for a, b in zip(frames, reference, strict=True):
        check()
        values.append(_ssim_of_frame(_planes(a), _planes(b), window))
    return float(np.mean(values))


def _ssim_of_frame(x: torch.Tensor, y: torch.Tensor, window: torch.Tensor) -> float:
    mean_x, mean_y, xx, yy, xy = (F.conv2d(z, window) for z in (x, y, x * x, y * y, x * y))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    spread = (xx - mean_x**2) + (yy - mean_y**2)
    shared = xy - mean_x * mean_y
    score = (2 * mean_x * mean_y + c1) * (2 * shared + c2) / ((mean_x**2 + mean_y**2 + c1) * (spread + c2))
    return float(score.mean())


def _planes(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame.astype(np.float64)).permute(2, 0, 1)[:, None]


def _check(frames: np.ndarray, reference: np.ndarray) -> None:
    if frames.shape != reference.shape or frames.ndim != 4:
        shapes = f"{list(frames.shape)} and {list(reference.shape)}"
        raise InputError(f"clips of {shapes} cannot be compared; both need the same shape [frame, height, width, 3]")
