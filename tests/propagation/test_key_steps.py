"""Lists of key steps, and the noise levels that step-size control is based on."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from videogen.core.errors import InputError
from videogen.propagation.key_steps import check_key_steps, published_key_steps, scaled_key_steps, uniform_key_steps
from videogen.schedulers.diffusers_solver import as_solver
from videogen.schedulers.levels import NoiseLevel


@pytest.mark.parametrize(
    ("name", "steps", "key_steps"),
    [
        pytest.param("fd", 50, (0, 1, 2, 3, 5, 10, 15, 25, 35), id="as published for DDIM-50"),
        pytest.param("fd-dpm", 20, (0, 1, 2, 3, 5, 10, 15), id="as published for DPM-Solver-20"),
        pytest.param("fd", 100, (*range(8), 10, 20, 30, 50, 70), id="twice the steps: the start stays dense"),
        pytest.param("fd-dpm", 50, (*range(10), 12, 25, 38), id="2.5 times the steps"),
        pytest.param("fd", 25, (0, 1, 2, 5, 8, 12, 18), id="half the steps: neighbours fall together"),
        pytest.param("fd", 1, (0,), id="one step is a key step"),
    ],
)
def test_published_lists_and_their_scaling(name: str, steps: int, key_steps: tuple[int, ...]) -> None:
    assert published_key_steps(name, steps) == key_steps
    assert check_key_steps(key_steps, steps) == key_steps


def test_uniform_and_scaled() -> None:
    assert uniform_key_steps(3, 10) == (0, 3, 6, 9)
    assert uniform_key_steps(1, 4) == (0, 1, 2, 3)
    assert scaled_key_steps((0, 9), 10, 5) == (0, 4)


@pytest.mark.parametrize(
    ("key_steps", "message"),
    [
        pytest.param((), "begin with 0", id="none"),
        pytest.param((1, 5), "begin with 0", id="without step 0"),
        pytest.param((0, 5, 3), "3 follows 5", id="unsorted"),
        pytest.param((0, 5, 5), "5 follows 5", id="twice"),
        pytest.param((0, 20), "out of range for 20 steps", id="beyond the end"),
    ],
)
def test_bad_lists_are_refused(key_steps: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_key_steps(key_steps, 20)


def test_bad_names_and_numbers() -> None:
    with pytest.raises(InputError, match="did you mean 'fd'"):
        published_key_steps("fdd", 50)
    with pytest.raises(InputError, match="every:0"):
        uniform_key_steps(0, 10)


def schedulers() -> list[tuple[str, object]]:
    import diffusers as d

    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    rows = [
        ("DDIM", d.DDIMScheduler(clip_sample=False)),
        ("DDIM, zero terminal SNR", d.DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing")),
        ("Euler", d.EulerDiscreteScheduler()),
        ("DPM++ 2M", d.DPMSolverMultistepScheduler()),
        ("UniPC on flow", d.UniPCMultistepScheduler(**flow)),
        ("flow Euler", d.FlowMatchEulerDiscreteScheduler(shift=3.0)),
    ]
    for _, scheduler in rows:
        scheduler.set_timesteps(12)
    return rows


@pytest.mark.parametrize(("name", "scheduler"), schedulers(), ids=lambda x: x if isinstance(x, str) else "")
def test_levels_run_from_noise_to_clean(name: str, scheduler: object) -> None:
    levels = as_solver(scheduler).levels
    assert levels is not None and len(levels) == 13
    snr = [level.log_snr for level in levels]
    assert all(math.isfinite(value) for value in snr) and snr == sorted(snr) and levels[-1].sigma < 0.05
    if "flow" not in name:
        assert all(abs(math.hypot(level.alpha, level.sigma) - 1) < 1e-5 for level in levels)


@pytest.mark.parametrize("flow", [False, True], ids=["variance preserving", "flow"])
def test_step_gain_is_what_an_error_becomes_for_gaussian_data(flow: bool) -> None:
    """Deterministic steps with the ideal denoiser of N(0, 1), one clean prediction wrong by 1e-3."""
    steps = 400
    angles = torch.linspace(math.pi / 2 - 1e-3, 0, steps + 1, dtype=torch.float64)
    alphas, sigmas = angles.cos(), angles.sin()
    if flow:
        alphas, sigmas = alphas / (alphas + sigmas), sigmas / (alphas + sigmas)
    levels = [NoiseLevel(float(a), float(s)) for a, s in zip(alphas, sigmas, strict=True)]

    def end(wrong: int) -> float:
        x = 1.0
        for i, (now, after) in enumerate(pairwise(levels)):
            clean = now.alpha * x / (now.alpha**2 + now.sigma**2) + (1e-3 if i == wrong else 0.0)
            noise = (x - now.alpha * clean) / now.sigma
            x = after.alpha * clean + after.sigma * noise
        return x

    exact = end(-1)
    for wrong in (20, 150, 300, 398):
        moved = (end(wrong) - exact) / 1e-3
        assert moved == pytest.approx(levels[wrong].step_gain(levels[wrong + 1]), rel=0.02)
