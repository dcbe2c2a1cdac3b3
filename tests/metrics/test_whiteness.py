"""Statistics of noise: true noise passes, each kind of wrong noise is detected by its statistic, known values,
refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import affine_grid, grid_sample

from videogen import InputError
from videogen.metrics.coherence import coherence, correlation
from videogen.metrics.whiteness import (
    channel_correlation,
    kolmogorov_smirnov,
    moments,
    morans_i,
    noise_faults,
    spectral_flatness,
    worst_score,
)
from videogen.schedulers import warped_noise


def white(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


NOISE = white(4, 128, 128)


def resample(mode: str) -> np.ndarray:
    """Noise turned by 9 degrees and zoomed in by 1.3 like an image, which must never be fed to a model."""
    c, s = math.cos(math.radians(9)) / 1.3, math.sin(math.radians(9)) / 1.3
    where = affine_grid(torch.tensor([[[c, -s, 0], [s, c, 0]]]), [1, 4, 128, 128], align_corners=False)
    return grid_sample(torch.from_numpy(NOISE[None]).float(), where, mode, align_corners=False)[0].numpy()


# --- true and wrong noise


@pytest.mark.parametrize("shape", [(16, 60, 90), (4, 128, 128), (1, 64, 64), (3, 33, 17), (2, 8, 16)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_true_noise_has_no_fault(shape: tuple[int, ...], seed: int) -> None:
    assert noise_faults(white(*shape, seed=seed)) == []


@pytest.mark.parametrize(("wrong", "found"), [
    pytest.param(resample("bilinear"), {"K-S", "variance", "Moran", "PSD"}, id="bilinear interpolation"),
    pytest.param(resample("bicubic"), {"Moran", "PSD"}, id="bicubic interpolation"),
    pytest.param(resample("nearest"), {"Moran", "PSD"}, id="nearest neighbours"),
    pytest.param(np.sqrt(0.5) * (NOISE + np.roll(NOISE, 1, 2)), {"Moran", "PSD"}, id="frames averaged after a move"),
    pytest.param(1.03 * NOISE, {"variance"}, id="too loud"),
    pytest.param(NOISE + 0.02, {"K-S", "mean"}, id="not centred"),
    pytest.param(
        np.random.default_rng(0).standard_t(8, NOISE.shape) * math.sqrt(6 / 8), {"kurtosis", "K-S"}, id="heavy tails"
    ),
    pytest.param(np.random.default_rng(0).uniform(-3**0.5, 3**0.5, NOISE.shape), {"kurtosis", "K-S"}, id="uniform"),
    pytest.param(np.concatenate([NOISE[:3], NOISE[:1]]), {"channels"}, id="a channel twice"),
    pytest.param(np.concatenate([NOISE[:3], -NOISE[:1]]), {"channels"}, id="a channel and its negative"),
    pytest.param(np.sqrt(0.5) * (NOISE + np.roll(NOISE, (1, 1), (1, 2))), {"Moran", "PSD"}, id="diagonal correlation"),
    pytest.param(np.tile(white(4, 16, 16), (1, 8, 8)), {"PSD"}, id="a tile repeated"),
])  # fmt: skip
def test_wrong_noise_is_detected(wrong: np.ndarray, found: set[str]) -> None:
    assert {fault.split()[0] for fault in noise_faults(wrong)} >= found


def test_a_fault_names_the_statistic_its_value_and_the_limit() -> None:
    faults = noise_faults(1.1 * NOISE)
    assert any(fault.startswith("variance 3") and fault.endswith("> 4") for fault in faults), faults


def test_the_limit_grows_with_the_number_of_tests() -> None:
    assert worst_score(1) == 4 and worst_score(120) == pytest.approx(5.06, abs=0.01)


# --- known values


def quantiles(n: int, shift: float = 0.0) -> np.ndarray:
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).numpy().reshape(1, 1, n) + shift


@pytest.mark.parametrize(("shift", "distance", "p"), [
    pytest.param(0.0, 0.00005, 1.0, id="a perfect fit"),
    pytest.param(0.034, 0.01361, 0.049, id="1.36 / sqrt(n) is 5 %"),
    pytest.param(0.0408, 0.01632, 0.0099, id="1.63 / sqrt(n) is 1 %"),
    pytest.param(1.0, 0.38297, 0.0, id="far off"),
])  # fmt: skip
def test_kolmogorov_smirnov(shift: float, distance: float, p: float) -> None:
    found = kolmogorov_smirnov(quantiles(10_000, shift))
    assert found.distance == pytest.approx(distance, abs=6e-5) and found.p == pytest.approx(p, abs=2e-3)


@pytest.mark.parametrize("lags", [[(0, 1)], [(0, 1), (1, 0)], [(1, 1)], [(2, 0), (0, 2), (1, 2)]], ids=str)
def test_morans_i_is_that_of_the_weight_matrix(lags: list[tuple[int, int]]) -> None:
    values, (h, w) = white(1, 5, 7), (5, 7)
    weights = np.zeros((h, w, h, w))
    for dy, dx in lags:
        for y, x in np.ndindex(h - dy, w - dx):
            weights[y, x, y + dy, x + dx] = weights[y + dy, x + dx, y, x] = 1
    matrix, z, n = weights.reshape(h * w, h * w), (values - values.mean()).ravel(), h * w
    s0, s1, s2 = matrix.sum(), 0.5 * ((matrix + matrix.T) ** 2).sum(), ((matrix.sum(0) + matrix.sum(1)) ** 2).sum()
    index = n / s0 * (z @ matrix @ z) / (z @ z)
    spread = math.sqrt((n**2 * s1 - n * s2 + 3 * s0**2) / ((n**2 - 1) * s0**2) - 1 / (n - 1) ** 2)
    found = morans_i(values, lags)
    assert found.index == pytest.approx(index) and found.score == pytest.approx((index + 1 / (n - 1)) / spread)


def test_scores_are_of_unit_spread() -> None:
    draws = [white(3, 24, 30, seed=seed) for seed in range(200)]
    for score in (lambda z: morans_i(z).score, *(lambda z, k=k: moments(z).scores[k] for k in range(3))):
        values = np.array([score(z) for z in draws])
        assert abs(values.mean()) < 0.3 and values.std() == pytest.approx(1, abs=0.2)
    assert 0.4 < np.mean([kolmogorov_smirnov(z).p for z in draws]) < 0.6


def test_extreme_patterns() -> None:
    y, x = np.mgrid[0:16, 0:16]
    checks, wave = ((-1.0) ** (x + y))[None], np.sin(2 * np.pi * x / 8)[None]
    assert morans_i(checks).index == pytest.approx(-1) and morans_i(checks, [(1, 1)]).index == pytest.approx(1)
    assert spectral_flatness(wave).flatness < 1e-3 and spectral_flatness(white(16, 64, 64)).flatness == pytest.approx(
        1, abs=0.01
    )
    found = moments(checks)
    assert (found.mean, found.std, found.kurtosis) == (0, 1, -2)
    assert channel_correlation(np.concatenate([NOISE[:2], -2 * NOISE[:1]])).largest == pytest.approx(1)


# --- coherence


def places(
    height: int, width: int, zoom: float = 1.0, degrees: float = 0.0, dx: float = 0.0, dy: float = 0.0
) -> np.ndarray:
    """The position in the first image that each pixel shows after scaling, rotation about the centre and translation.

    [height, width, 2]
    """
    y, x = np.mgrid[0:height, 0:width] + 0.5
    z = ((x - width / 2 - dx) + 1j * (y - height / 2 - dy)) * np.exp(-1j * np.deg2rad(degrees)) / zoom
    return np.stack([z.real + width / 2, z.imag + height / 2], -1)


@pytest.mark.parametrize(("dx", "attainable", "fraction"), [
    pytest.param(0, 1, 1, id="rest"),
    pytest.param(16, 1, 10 / 12, id="two latents"),
    pytest.param(4, 0.5**0.5, 11 / 12, id="half a latent"),
    pytest.param(2, 0.625**0.5, 11 / 12, id="a quarter"),
])  # fmt: skip
def test_coherence_of_a_move(dx: int, attainable: float, fraction: float) -> None:
    first, shift = white(8, 6, 12), dx // 8
    later = np.roll(first, shift, 2)
    found = coherence(first, later, places(48, 96, dx=dx))
    assert found.attainable == pytest.approx(attainable) and found.fraction == pytest.approx(fraction)
    assert found.correlation == pytest.approx({0: 1, 16: 1, 4: 0.5**0.5, 2: 0.75 / 0.625**0.5}[dx], abs=0.06)
    assert abs(coherence(first, white(8, 6, 12, seed=1), places(48, 96, dx=dx)).correlation) < 0.2


def test_content_outside_the_first_frame_is_not_evaluated() -> None:
    maps, noise = places(16, 32), white(8, 2, 4)
    maps[3, 5] = np.nan
    maps[:, 24:] += 99
    wrong = noise.copy()
    wrong[:, 0, 0] = wrong[:, :, 3] = 5
    found = coherence(noise, wrong, maps)
    assert found.correlation == pytest.approx(1) and found.fraction == 5 / 8


@pytest.mark.parametrize("motion", [
    pytest.param({"dx": 3.7, "dy": -1.2}, id="pan"),
    pytest.param({"zoom": 1.3}, id="zoom in"),
    pytest.param({"zoom": 0.7}, id="zoom out"),
    pytest.param({"degrees": 12}, id="turn"),
])  # fmt: skip
def test_warped_noise_reaches_what_is_attainable(motion: dict[str, float]) -> None:
    class Maps:
        frames, height, width = 2, 240, 320

        def texture(
            self, frame: int, x: torch.Tensor, y: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            z = torch.complex(x - 160 - frame * motion.get("dx", 0), y - 120 - frame * motion.get("dy", 0))
            z = z * np.exp(-1j * frame * np.deg2rad(motion.get("degrees", 0))) / motion.get("zoom", 1) ** frame
            return torch.zeros_like(x, dtype=torch.int32), z.real + 160, z.imag + 120

    noise = warped_noise(Maps(), 16, temporal=1)[0].numpy()
    found = coherence(noise[:, 0], noise[:, 1], places(240, 320, **motion))
    assert 0.95 < found.correlation / found.attainable < 1.05 and found.attainable > 0.5


def test_correlation() -> None:
    assert correlation(NOISE, 3 * NOISE) == pytest.approx(1) and correlation(NOISE, -NOISE) == pytest.approx(-1)
    assert correlation(NOISE, 0.6 * NOISE + 0.8 * white(4, 128, 128, seed=1)) == pytest.approx(0.6, abs=0.02)


# --- bad input

HOLE = NOISE.copy()
HOLE[1, 2, 3] = np.nan
BAD: list = [
    pytest.param(lambda: moments(NOISE[None]), r"noise \[1, 4, 128, 128\] cannot be tested", id="a clip"),
    pytest.param(lambda: kolmogorov_smirnov(NOISE[:0]), r"\[0, 128, 128\] cannot", id="no channel"),
    pytest.param(lambda: noise_faults(NOISE[:, :1, :1]), r"\[4, 1, 1\] cannot", id="one value per channel"),
    pytest.param(lambda: morans_i(HOLE), "noise with 1 NaN", id="NaN"),
    pytest.param(lambda: morans_i(NOISE * np.inf), "65536 NaN or infinite", id="infinite"),
    pytest.param(lambda: spectral_flatness(0 * NOISE), "constant channel", id="nothing but zeros"),
    pytest.param(lambda: morans_i(NOISE, [(0, 0)]), "lags .* must be", id="a lag of 0"),
    pytest.param(lambda: morans_i(NOISE, [(0, 128)]), "less than the noise's 128 x 128", id="a lag beyond the frame"),
    pytest.param(lambda: morans_i(NOISE, []), r"lags \[\] must be", id="no lag"),
    pytest.param(
        lambda: spectral_flatness(NOISE[:, :8, :8]), "at least 128 values per channel, .* has 64", id="a small spectrum"
    ),
    pytest.param(lambda: channel_correlation(NOISE[:1]), "it has one; two are needed", id="one channel"),
    pytest.param(lambda: correlation(NOISE, NOISE[:2]), r"\[4, 128, 128\] and \[2, 128, 128\] cannot", id="shapes"),
    pytest.param(lambda: correlation(NOISE, 0 * NOISE), "values other than 0", id="nothing to correlate with"),
    pytest.param(lambda: coherence(NOISE, NOISE[:, :64], places(128, 128)), "do not fit", id="frames of two sizes"),
    pytest.param(lambda: coherence(NOISE, NOISE, places(256, 128)), "do not fit", id="pixels not square"),
    pytest.param(lambda: coherence(NOISE, NOISE, places(100, 100)), "do not fit", id="fewer pixels than latents"),
    pytest.param(lambda: coherence(NOISE, NOISE, places(128, 128)[..., 0]), "do not fit", id="half a map"),
    pytest.param(
        lambda: coherence(NOISE, NOISE, places(128, 128, dx=999)), "nothing to evaluate", id="all from outside"
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_refusals(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
