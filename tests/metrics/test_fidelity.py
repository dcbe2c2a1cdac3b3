"""PSNR and SSIM: known values, order, symmetry, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from videogen import InputError
from videogen.metrics.fidelity import psnr_db, ssim

RNG = np.random.default_rng(0)
CLIP = RNG.integers(40, 200, (3, 24, 32, 3), dtype=np.uint8)


def test_equal_clips_are_perfect() -> None:
    assert psnr_db(CLIP, CLIP) == float("inf") and ssim(CLIP, CLIP) == pytest.approx(1.0)


def test_known_values() -> None:
    assert psnr_db(CLIP, CLIP + 1) == pytest.approx(10 * np.log10(255**2), abs=1e-9)
    flat, other = np.full((1, 16, 16, 3), 100, np.uint8), np.full((1, 16, 16, 3), 120, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(flat, other) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1))


def test_more_noise_is_worse_and_order_does_not_matter() -> None:
    noisy = [np.clip(CLIP + RNG.normal(0, s, CLIP.shape), 0, 255).astype(np.uint8) for s in (2, 10, 40)]
    assert psnr_db(noisy[0], CLIP) > psnr_db(noisy[1], CLIP) > psnr_db(noisy[2], CLIP)
    assert ssim(noisy[0], CLIP) > ssim(noisy[1], CLIP) > ssim(noisy[2], CLIP)
    assert ssim(noisy[1], CLIP) == pytest.approx(ssim(CLIP, noisy[1]))


@pytest.mark.parametrize("other", [CLIP[:2], CLIP[..., 0], CLIP[:, :16]])
def test_clips_of_other_shape_are_refused(other: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        psnr_db(CLIP, other)


def test_tiny_frames_have_no_ssim() -> None:
    with pytest.raises(InputError, match="11x11"):
        ssim(CLIP[:, :8], CLIP[:, :8])
