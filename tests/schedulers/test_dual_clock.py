"""Dual clock as functions of latents: nothing where the mask is 0, the reference where it is 1, and the same result in
a loop that clamps its latents and in one that clamps around the model."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from videogen.core.errors import InputError
from videogen.schedulers import ClampSchedule, clamp, levels_from_sigmas, noised, plan_clamps

SIGMAS = [1 - step / 20 for step in range(21)]
LEVELS = levels_from_sigmas(SIGMAS, "flow")
SHAPE = (1, 4, 3, 6, 8)


def normal(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


REFERENCE, NOISE = normal(0), normal(1)
REGION = torch.zeros(1, 1, *SHAPE[2:])
REGION[..., 2:5] = 1.0


def clean(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """What a model predicts, from all of its input."""
    return torch.tanh(0.5 * x + 0.2 * x.roll(1, -1)) * (1 - 0.3 * sigma)


def euler(x: torch.Tensor, predicted: torch.Tensor, now: float, after: float) -> torch.Tensor:
    return x + (x - predicted) / now * (after - now)


def clamped_latents(mask: torch.Tensor, clamps: ClampSchedule) -> torch.Tensor:
    """A host that owns the loop."""
    first = clamps.steps.start
    x = noised(REFERENCE, NOISE, LEVELS[first])
    for step in range(first, 20):
        x = euler(x, clean(x, SIGMAS[step]), SIGMAS[step], SIGMAS[step + 1])
        x = clamp(x, noised(REFERENCE, NOISE, LEVELS[step + 1]), mask, clamps.fraction_at(step + 1))
    return x


def clamped_around_the_model(mask: torch.Tensor, clamps: ClampSchedule) -> torch.Tensor:
    """A host that is called before and after the model."""
    first = clamps.steps.start
    x = noised(REFERENCE, NOISE, LEVELS[first])
    for step, (now, after) in list(enumerate(pairwise(SIGMAS)))[first:]:
        given = clamp(x, noised(REFERENCE, NOISE, LEVELS[step]), mask, clamps.input_fraction(step))
        predicted = clamp(clean(given, now), REFERENCE, mask, clamps.prediction_fraction(step))
        x = euler(x, predicted, now, after)
    return x


@pytest.mark.parametrize(
    ("weak", "strong"), [(0.9, 0.5), (0.9, 0.52), (0.6, 0.0)], ids=["at a step", "within a step", "to the end"]
)
def test_both_kinds_of_host_agree(weak: float, strong: float) -> None:
    clamps = plan_clamps(SIGMAS[:-1], weak, strong)
    found = clamped_around_the_model(REGION, clamps)
    torch.testing.assert_close(found, clamped_latents(REGION, clamps), atol=2e-6, rtol=1e-5)
    plain = clamped_latents(torch.zeros_like(REGION), clamps)
    assert (found - plain).abs().max() > 0.1
    if strong == 0:
        torch.testing.assert_close(found[..., 2:5], REFERENCE[..., 2:5], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("host", [clamped_latents, clamped_around_the_model])
def test_mask_0_is_bit_identical(host: object) -> None:
    clamps = plan_clamps(SIGMAS[:-1], 0.9, 0.5)
    x = noised(REFERENCE, NOISE, LEVELS[clamps.steps.start])
    for step in range(clamps.steps.start, 20):
        x = euler(x, clean(x, SIGMAS[step]), SIGMAS[step], SIGMAS[step + 1])
    assert torch.equal(host(torch.zeros_like(REGION), clamps), x)  # type: ignore[operator]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_region_is_one_of_the_two_bit_for_bit(dtype: torch.dtype) -> None:
    latents, target = normal(2).to(dtype), normal(3).to(dtype)
    found = clamp(latents, target, REGION)
    assert found.dtype == dtype and torch.equal(found, latents * (1 - REGION).to(dtype) + target * REGION.to(dtype))
    assert clamp(latents, target, REGION, 0.0) is latents
    half = clamp(latents, target, REGION, 0.5)
    torch.testing.assert_close(half[..., 2:5], (latents + target)[..., 2:5] / 2, atol=2e-2, rtol=2e-2)
    assert torch.equal(half[..., 5:], latents[..., 5:])


def test_levels_in_any_unit_give_the_same_steps() -> None:
    by_sigma, by_timestep = plan_clamps(SIGMAS[:-1], 0.9, 0.52), plan_clamps([1000 * s for s in SIGMAS[:-1]], 900, 520)
    assert (by_sigma.steps, by_sigma.after) == (by_timestep.steps, by_timestep.after) == (range(2, 10), 10)
    assert by_sigma.fraction == pytest.approx(0.6) and by_timestep.until == pytest.approx(1000 * by_sigma.until)
    inputs, predictions = (
        [fraction(step) for step in range(20)] for fraction in (by_sigma.input_fraction, by_sigma.prediction_fraction)
    )
    assert inputs == [0, 0, *[1] * 8, *[0] * 10] and predictions[:9] == [0, 0, *[1] * 7]
    assert predictions[9:] == pytest.approx([0.6, *[0] * 10])


def test_one_step_is_refused() -> None:
    with pytest.raises(InputError, match="in 1 steps"):
        plan_clamps([1.0], 0.9, 0.5)
