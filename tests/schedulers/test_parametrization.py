"""Prediction types: every conversion is the inverse of another, at every noise level."""

from __future__ import annotations

import pytest
import torch

from videogen.schedulers.levels import NoiseLevel
from videogen.schedulers.parametrization import (
    KINDS,
    clean_error,
    clean_latents,
    implied_noise,
    linear_form,
    prediction_for,
)


def level_of(kind: str, sigma: float) -> NoiseLevel:
    return NoiseLevel(1 - sigma if kind == "flow" else (1 - sigma**2) ** 0.5, sigma)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.8, 0.95])
def test_conversions_agree(kind: str, sigma: float) -> None:
    level, (clean, noise) = level_of(kind, sigma), torch.randn(2, 4, 3, 5, 5, dtype=torch.float64)
    latents = level.alpha * clean + level.sigma * noise
    prediction = {
        "epsilon": noise,
        "sample": clean,
        "flow": noise - clean,
        "v_prediction": level.alpha * noise - level.sigma * clean,
    }[kind]
    torch.testing.assert_close(prediction_for(latents, clean, level, kind), prediction)
    torch.testing.assert_close(clean_latents(latents, prediction, level, kind), clean)
    torch.testing.assert_close(implied_noise(latents, prediction, level, kind), noise)
    for quantity, value in (("x0", clean), ("eps", noise)):
        a, b = linear_form(level, kind, quantity)
        torch.testing.assert_close(a * prediction + b * latents, value)
    changed = clean_latents(latents, prediction + 1, level, kind) - clean
    torch.testing.assert_close(changed.abs().mean(), torch.tensor(clean_error(level, kind), dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_full_noise_and_no_noise_stay_finite(kind: str) -> None:
    ones = torch.ones(2)
    for level in (NoiseLevel(0.0, 1.0), NoiseLevel(1.0, 0.0)):
        for convert in (clean_latents, implied_noise, prediction_for):
            assert bool(convert(ones, ones, level, kind).isfinite().all())
