"""Regularisation to another clip's mean: its closed form equals the paper's gradient step, in any space, with the
stated strengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from videogen.core.errors import InputError
from videogen.schedulers import MeanRegularisation, regularise_mean
from videogen.schedulers.cono.mean_regularisation import SPACES, coefficients
from videogen.schedulers.levels import NoiseLevel

SHAPE = (3, 4, 6)
FRAMES = 7
ANGLE = 0.9
VP = NoiseLevel(math.cos(ANGLE), math.sin(ANGLE))
RECTIFIED = NoiseLevel(0.3, 0.7)
KINDS = [
    pytest.param("epsilon", VP, id="noise"),
    pytest.param("v_prediction", VP, id="velocity"),
    pytest.param("sample", VP, id="sample"),
    pytest.param("flow", RECTIFIED, id="flow"),
]


def clips(count: int, seed: int = 0, frames: int = FRAMES) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, SHAPE[0], frames, *SHAPE[1:], generator=generator, dtype=torch.float64) + i for i in range(count)
    ]


def gap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.mean(2) - b.mean(2)


# --- closed form


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("delta", [0.3, 140.0])
def test_the_closed_form_is_the_gradient_step(reduction: str, delta: float) -> None:
    source, prediction = clips(2)
    moved = prediction.clone().requires_grad_()
    distance = (source.mean(2) - moved.mean(2)).square()
    # the distance is per sample of a batch
    (distance.sum() if reduction == "sum" else distance.mean((1, 2, 3)).sum()).backward()
    assert moved.grad is not None
    stepped = prediction - delta * moved.grad
    strength = 2 * delta / (FRAMES * (math.prod(SHAPE) if reduction == "mean" else 1))
    assert torch.allclose(regularise_mean(prediction, source, strength), stepped, rtol=1e-12, atol=1e-12)


# --- strengths


@pytest.mark.parametrize("cutoff", [None, 0.2])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("kind", "level"), KINDS)
def test_strength_0_changes_nothing(kind: str, level: NoiseLevel, space: str, cutoff: float | None) -> None:
    source, prediction, latents, others = clips(4)
    assert (
        MeanRegularisation(0, space=space, cutoff=cutoff).apply(prediction, source, level, kind, latents, others)
        is prediction
    )


@pytest.mark.parametrize("strength", [0.25, 1.0])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("kind", "level"), KINDS)
def test_strength_is_the_fraction_of_the_gap_that_it_closes(
    kind: str, level: NoiseLevel, space: str, strength: float
) -> None:
    """In the space of the regularisation, for any prediction type; at 1 the means are equal. The distance of a frame
    to the mean is unchanged."""
    source, prediction, latents, others = clips(4)
    pulled = MeanRegularisation(strength, space=space).apply(prediction, source, level, kind, latents, others)

    def to_space(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        a, b = coefficients(level, kind, space)
        return a * x + b * at

    before, after = (gap(to_space(source, others), to_space(x, latents)) for x in (prediction, pulled))
    assert torch.allclose(after, (1 - strength) * before, atol=1e-12) and before.abs().max() > 0.5
    assert torch.allclose(
        pulled - pulled.mean(2, keepdim=True), prediction - prediction.mean(2, keepdim=True), atol=1e-12
    )


@pytest.mark.parametrize(("kind", "level"), KINDS)
def test_coefficients_convert_a_prediction_into_each_space(kind: str, level: NoiseLevel) -> None:
    """From latents made of a known sample and noise, each prediction type gives that sample, that noise and its
    velocity."""
    x0, eps = clips(2)
    latents = level.alpha * x0 + level.sigma * eps
    v = eps - x0 if kind == "flow" else level.alpha * eps - level.sigma * x0
    prediction = {"epsilon": eps, "v_prediction": v, "flow": v, "sample": x0}[kind]
    for space, true in {"x0": x0, "eps": eps, "v": v, "prediction": prediction}.items():
        a, b = coefficients(level, kind, space)
        assert torch.allclose(a * prediction + b * latents, true, atol=1e-12), space


def test_regularising_eps_changes_the_sample_more_at_high_noise() -> None:
    """The sample moves sigma / alpha times as far as the noise, in the opposite direction."""
    source, prediction, latents = clips(3)
    level = NoiseLevel(0.02, 0.98)
    a, _ = coefficients(level, "flow", "x0")
    moved = MeanRegularisation(1, space="eps").apply(prediction, source, level, "flow", latents, latents) - prediction
    noise = level.alpha * gap(source, prediction)  # of the two clips' noises, at equal latents
    assert torch.allclose(a * moved, (-level.sigma / level.alpha * noise)[:, :, None].expand_as(moved), atol=1e-9)


def test_a_stored_mean_suffices() -> None:
    source, prediction, latents, others = clips(4)
    means = [x.mean(2, keepdim=True) for x in (source, others)]
    pull = MeanRegularisation(0.4, space="x0")
    expected = pull.apply(prediction, source, RECTIFIED, "flow", latents, others)
    assert torch.equal(pull.apply(prediction, means[0], RECTIFIED, "flow", latents, means[1]), expected)


def test_half_precision_is_regularised_in_single_precision() -> None:
    source, prediction = (x.to(torch.bfloat16) for x in clips(2))
    pulled = regularise_mean(prediction, source, 0.3)
    assert pulled.dtype == torch.bfloat16
    assert torch.equal(pulled, regularise_mean(prediction.float(), source.float(), 0.3).to(torch.bfloat16))


# --- weights


@pytest.mark.parametrize(
    ("pull", "sigma", "strength"),
    [
        pytest.param(MeanRegularisation(0.3), 0.5, 0.3, id="power 0: constant"),
        pytest.param(MeanRegularisation(0.3, power=1), 0.5, 0.15, id="power 1: proportional to the noise"),
        pytest.param(MeanRegularisation(0.3, power=2), 0.5, 0.075, id="power 2"),
        pytest.param(MeanRegularisation(0.3, power=2), 1.0, 0.3, id="full strength at full noise"),
        pytest.param(MeanRegularisation(0.3, power=1), 0.0, 0.0, id="zero without noise"),
        pytest.param(MeanRegularisation(0.3, above=0.6), 0.5, 0.0, id="high noise only: not below"),
        pytest.param(MeanRegularisation(0.3, above=0.5), 0.5, 0.3, id="high noise only: from there on"),
    ],
)
def test_strength_by_noise_level(pull: MeanRegularisation, sigma: float, strength: float) -> None:
    level = NoiseLevel(1 - sigma, sigma)
    source, prediction = clips(2)
    assert pull.at(level) == pytest.approx(strength)
    assert torch.equal(
        pull.apply(prediction, source, level, "flow"), regularise_mean(prediction, source, pull.at(level))
    )


@pytest.mark.parametrize("size", [(8, 12), (7, 9)], ids=["even", "odd"])
def test_the_low_pass_preserves_a_frame_s_mean_and_removes_high_frequencies(size: tuple[int, int]) -> None:
    height, width = size
    flat, fine = torch.zeros(1, 1, 3, height, width), torch.zeros(1, 1, 3, height, width)
    flat += 2.0
    fine[..., ::2] += 1.0
    fine -= fine.mean()
    zero = torch.zeros(1, 1, 4, height, width)
    assert torch.allclose(regularise_mean(zero, flat, 1.0, cutoff=0.1), zero + 2, atol=1e-6)
    assert (
        regularise_mean(zero, fine, 1.0, cutoff=0.1).abs().max()
        < 0.15
        < 0.4
        < regularise_mean(zero, fine, 1.0).abs().max()
    )
    assert regularise_mean(zero, fine, 1.0, cutoff=1.0).std() > 0.8 * fine.std(), "a high cutoff passes most"


# --- bad input


def regularise_at(level: NoiseLevel, kind: str, space: str, latents: bool = True) -> Callable[[], Any]:
    def call() -> Any:
        source, prediction = clips(2)
        both_latents = (source, prediction) if latents else ()
        return MeanRegularisation(0.5, space=space).apply(prediction, source, level, kind, *both_latents)

    return call


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: MeanRegularisation(-0.1), "strength=-0.1 must be between 0 and 1", id="negative strength"),
        pytest.param(lambda: MeanRegularisation(1.1), "strength=1.1 .* diverges", id="strength above 1"),
        pytest.param(lambda: MeanRegularisation(math.nan), "strength=nan", id="not a number"),
        pytest.param(lambda: MeanRegularisation(power=-1), "power=-1", id="power that grows at low noise"),
        pytest.param(lambda: MeanRegularisation(above=2), "above=2", id="above all noise"),
        pytest.param(lambda: MeanRegularisation(cutoff=0), "cutoff=0 must be above 0", id="cutoff of 0"),
        pytest.param(lambda: MeanRegularisation(space="x_0"), "did you mean 'x0'", id="space misspelt"),
        pytest.param(
            regularise_at(RECTIFIED, "flow", "x0", latents=False), "needs both clips' latents", id="latents missing"
        ),
        pytest.param(
            regularise_at(NoiseLevel(0, 1), "flow", "eps"), "space=eps .* use space=v", id="noise at full noise"
        ),
        pytest.param(
            regularise_at(NoiseLevel(0, 1), "epsilon", "x0"), "space=x0 .* use space=eps", id="sample of noise alone"
        ),
        pytest.param(regularise_at(NoiseLevel(1, 0), "flow", "x0"), "space=x0 .* use space=v", id="without noise"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
