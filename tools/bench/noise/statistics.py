"""Statistics of warped noise: whiteness, correlation along the motion, exact properties."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample, max_pool2d

from tools.bench.noise.flows import MATRICES, affine, all_kinds, pan, rotation_zoom, source_positions, there_and_back
from videogen.metrics.coherence import coherence, correlation
from videogen.metrics.whiteness import (
    channel_correlation,
    kolmogorov_smirnov,
    moments,
    morans_i,
    noise_faults,
    spectral_flatness,
)
from videogen.motion import Drag, compile_motion
from videogen.schedulers import WarpedNoise, warped_noise
from videogen.schedulers.warping.hash_noise import HashField
from videogen.schedulers.warping.mix import correlation_of_degradation

SLOW_PANS = ((1 / 6, 48), (0.4, 20), (1 / 3, 48), (0.6, 40))  # px per frame, frames: entire latents of 8 px in total
RETURNS = {
    "rotation of 0.7 degrees": rotation_zoom(0.7),
    "zoom in by 1.5 %": rotation_zoom(0, 1.015),
    "zoom out by 1.5 %": rotation_zoom(0, 1 / 1.015),
}
DEGRADATIONS = (0.2, 0.3, 0.5, 0.7, 0.9)
METHODS: dict[str, dict[str, Any]] = {
    "texture": {"method": "texture"},
    "bipartite": {"method": "bipartite"},
    "published": {"method": "bipartite", "compat": True, "oversample": 4},
}


def measure_statistics(options: argparse.Namespace) -> dict[str, Any]:
    """All tests of warped noise, as figures."""
    size = options.size
    moving = all_kinds(4, size, size)
    noise = {name: warped_noise(flow, 16, spatial=2, seed=3)[0, :, 1].numpy() for name, flow in moving.items()}
    return {
        "size_px": [size, size],
        "white": {name: whiteness(frame) for name, frame in noise.items()},
        "resampled": {mode: whiteness(resampled(mode, size // 2)) for mode in ("bilinear", "bicubic", "nearest")},
        "bridge": bridge(size),
        "along_the_map": {name: along_the_map(matrix, size) for name, matrix in MATRICES.items()},
        "slow_pans": [slow_pan(speed, steps) for speed, steps in SLOW_PANS],
        "there_and_back": {name: returns(matrix, size // 2) for name, matrix in RETURNS.items()},
        "degradation": {str(gamma): degradation(gamma, size) for gamma in DEGRADATIONS},
        "exact": {**exact(), "the background behind an object": background_behind_object()},
        "cuda_difference": cuda_difference(),
    }


def whiteness(noise: np.ndarray) -> dict[str, Any]:
    """The figures behind `noise_faults`, of one frame [c, h, w]."""
    moran, spectrum, found = morans_i(noise), spectral_flatness(noise), moments(noise)
    return {
        "values": noise.size,
        "ks_p": round(kolmogorov_smirnov(noise).p, 5),
        "moran": round(moran.index, 5), "moran_score": round(moran.score, 2),
        "std": round(found.std, 4), "kurtosis": round(found.kurtosis, 4),
        "channels_score": round(channel_correlation(noise).score, 2),
        "psd_flatness": round(spectrum.flatness, 5), "psd_score": round(spectrum.score, 2),
        "faults": noise_faults(noise),
    }  # fmt: skip


def resampled(mode: str, size: int) -> np.ndarray:
    """The negative control: noise rotated and zoomed as an image is, [16, size, size]."""
    matrix = torch.tensor([[*row, 0.0] for row in rotation_zoom(9, 1 / 1.3)])
    noise = torch.randn(1, 16, size, size, generator=torch.Generator().manual_seed(0))
    return grid_sample(
        noise, affine_grid(matrix[None], list(noise.shape), align_corners=False), mode, align_corners=False
    )[0].numpy()


def bridge(size: int) -> dict[str, float]:
    """One texel shared by all samples: their sum against it, their variance, their covariance to neighbours in standard
    deviations."""

    class Point:
        frames, height, width = 2, size, size

        def texture(
            self, frame: int, x: torch.Tensor, y: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return torch.zeros_like(x, dtype=torch.int32), torch.full_like(x, 7.3), torch.full_like(x, -2.1)

    noise = warped_noise(Point(), 16, spatial=1, temporal=1)[0, :, 1]
    x, y = (torch.tensor([n], dtype=torch.int32) for n in (14, -5))
    source = HashField(0, "texture").at(0, x, y, 16)[:, 0]
    error = (noise.double().sum((1, 2)) / size - source).abs().max()
    return {
        "draws": noise.numel(),
        "sum_error": float(f"{float(error):.2g}"),
        "variance": round(float(noise.double().square().mean()), 5),
        "covariance_score": round(morans_i(noise.numpy()).score, 2),
    }


def along_the_map(matrix: Any, size: int) -> dict[str, float]:
    """Correlation of the fourth frame with the first one moved along, next to that of noise painted on the frame."""
    first, last = warped_noise(affine(matrix, 4, size, size), 16)[0].numpy().swapaxes(0, 1)
    found = coherence(first, last, source_positions(matrix, 4, size, size).numpy())
    return {name: round(value, 4) for name, value in asdict(found).items()}


def slow_pan(speed: float, steps: int) -> dict[str, Any]:
    """Correlation of the last frame with the first one, moved as far as the pan went, by each method."""
    moved = round(speed * steps / 8)
    flow = pan(speed, 0, steps, 64, 96)
    found: dict[str, Any] = {"px_per_frame": round(speed, 3), "frames": steps}
    for name, how in METHODS.items():
        first, last = warped_noise(flow, 8, temporal=steps, **how)[0].unbind(1)
        found[name] = round(correlation(first[:, :, 1:-moved].numpy(), last[:, :, moved + 1 :].numpy()), 4)
    return found


def returns(matrix: Any, size: int) -> dict[str, float]:
    """Correlation of the first frame with the one after 16 frames there and 16 back, inside; by each method of ours."""
    flow = there_and_back(matrix, 16, size)
    found = {}
    for name in ("texture", "bipartite"):
        rim = size // 32
        first, last = warped_noise(flow, 8, temporal=32, **METHODS[name])[0, :, :, rim:-rim, rim:-rim].unbind(1)
        found[name] = round(correlation(first.numpy(), last.numpy()), 4)
    return found


def degradation(gamma: float, size: int) -> dict[str, float]:
    """Correlation with the undegraded noise: by formula, and measured."""
    flow = affine(rotation_zoom(3), 4, size, size)
    pure, degraded = (warped_noise(flow, 16, degradation=g).numpy() for g in (0, gamma))
    measured, std = correlation(pure, degraded), float(degraded.std())
    return {
        "formula": round(correlation_of_degradation(gamma), 4),
        "measured": round(measured, 4),
        "std": round(std, 4),
    }


def exact() -> dict[str, bool]:
    """What must hold bit for bit."""
    still = warped_noise(pan(0, 0, 8, 32, 48))
    panned = warped_noise(pan(2, -2, 4, 32, 48), 3, spatial=4)[0]
    flow = affine(rotation_zoom(2, 1.03), 12, 48, 48)
    batch = WarpedNoise(flow).frames(range(4), (4, 6, 6))
    one_by_one = torch.cat([WarpedNoise(flow).frames([f], (4, 6, 6)) for f in (2, 0, 3, 1)], 2)[:, :, [1, 3, 0, 2]]
    return {
        "rest": torch.equal(still, still[:, :, :1].expand_as(still)),
        "a pan by whole texels": torch.equal(panned[:, 1, :-2, 2:], panned[:, 0, 2:, :-2]),
        "a frame alone and in a batch": torch.equal(one_by_one, batch),
    }


def background_behind_object() -> bool:
    """A disc is dragged across: wherever it is not, the background has the same noise as at rest."""
    plan = compile_motion(Drag((24, 64, 14), ((24, 64), (104, 64))), frames=17, height=128, width=128)
    noise = warped_noise(plan, 4, temporal=1)[0]
    ground = warped_noise(pan(0, 0, 0, 128, 128), 4, temporal=1)[0, :, 0]
    return all(_same_where_free(noise[:, frame], ground, plan.masks_at(frame)[1]) for frame in range(17))


def _same_where_free(noise: torch.Tensor, ground: torch.Tensor, thing: np.ndarray) -> bool:
    free = max_pool2d(torch.from_numpy(thing)[None], 10, 8, 1)[0] == 0
    return bool(free.any()) and torch.equal(noise[:, free], ground[:, free])


def cuda_difference() -> float | None:
    """Largest difference between the noise of the CPU and of a GPU; None without one."""
    if not torch.cuda.is_available():
        return None
    flow = all_kinds(8, 64, 64)["wave"]
    return float((warped_noise(flow, device="cuda").cpu() - warped_noise(flow)).abs().max())
