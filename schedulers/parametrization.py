"""Prediction types of diffusion models: noise, v, flow and sample, and the conversions between them.

With latents = alpha * clean + sigma * noise, a model predicts one of

    epsilon        noise
    v_prediction   alpha * noise - sigma * clean     (Salimans & Ho 2202.00512; alpha^2 + sigma^2 = 1)
    flow           noise - clean                     (flow matching 2210.02747; alpha + sigma = 1)
    sample         clean

Importing this module does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

    from .levels import NoiseLevel

FLOW = "flow"
KINDS = ("epsilon", "v_prediction", "sample", FLOW)

#: Short names of the quantities that a kind of prediction is
SHORT = {"epsilon": "eps", "v_prediction": "v", FLOW: "v", "sample": "x0"}

_LEAST_ALPHA = 0.05  # a noise prediction says little about clean latents below it
_LEAST_SIGMA = 1e-6
_LEAST_RATIO = 1e-3

Value = TypeVar("Value", float, "torch.Tensor")


def clean_latents(latents: torch.Tensor, prediction: torch.Tensor, level: NoiseLevel, kind: str) -> torch.Tensor:
    """The clean latents that a prediction of this kind implies; all of one shape, in the model's scale."""
    return _clean(latents, prediction, level, kind, divisor=max(level.alpha, _LEAST_ALPHA))


def implied_noise(latents: torch.Tensor, prediction: torch.Tensor, level: NoiseLevel, kind: str) -> torch.Tensor:
    """The noise that a prediction of this kind implies; all of one shape, in the model's scale."""
    return _noise(latents, prediction, level, kind, divisor=max(level.sigma, _LEAST_SIGMA))


def noise_between(latents: torch.Tensor, clean: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    """The noise by which latents at this level differ from clean ones."""
    return implied_noise(latents, clean, level, "sample")


def prediction_for(latents: torch.Tensor, clean: torch.Tensor, level: NoiseLevel, kind: str) -> torch.Tensor:
    """The prediction of this kind that leads from latents at this level to known clean latents."""
    if kind == "sample":
        return clean
    noise = noise_between(latents, clean, level)
    return noise if kind == "epsilon" else _velocity(clean, noise, level, kind)


def clean_error(level: NoiseLevel, kind: str) -> float:
    """Error of the clean latents per unit of error in a prediction of this kind."""
    if kind == "sample":
        return 1.0
    return level.sigma / max(level.alpha, _LEAST_RATIO) if kind == "epsilon" else level.sigma


def linear_form(level: NoiseLevel, kind: str, quantity: str) -> tuple[float, float]:
    """(a, b) with quantity = a * prediction + b * latents, for a model that predicts `kind`.

    quantity: `x0`, `eps` or `v`; v is that of the kind, noise - clean for flow models. ZeroDivisionError at a level
    without the signal or noise that the form divides by.
    """
    prediction_alone, latents_alone = (
        _quantity(latents, prediction, level, kind, quantity) for latents, prediction in ((0.0, 1.0), (1.0, 0.0))
    )
    return prediction_alone, latents_alone


def _quantity(latents: float, prediction: float, level: NoiseLevel, kind: str, quantity: str) -> float:
    if quantity == "eps":
        return _noise(latents, prediction, level, kind, divisor=level.sigma)
    clean = _clean(latents, prediction, level, kind, divisor=level.alpha)
    if quantity == "x0":
        return clean
    return _velocity(clean, _noise(latents, prediction, level, kind, divisor=level.sigma), level, kind)


def _clean(latents: Value, prediction: Value, level: NoiseLevel, kind: str, divisor: float) -> Value:
    """Clean latents. divisor: alpha, where it is divided by."""
    if kind == "sample":
        return prediction
    if kind == "epsilon":
        return (latents - level.sigma * prediction) / divisor
    return (latents if kind == FLOW else level.alpha * latents) - level.sigma * prediction


def _noise(latents: Value, prediction: Value, level: NoiseLevel, kind: str, divisor: float) -> Value:
    """Noise. divisor: sigma, where it is divided by."""
    if kind == "sample":
        return (latents - level.alpha * prediction) / divisor
    if kind == "epsilon":
        return prediction
    return (latents if kind == FLOW else level.sigma * latents) + level.alpha * prediction


def _velocity(clean: Value, noise: Value, level: NoiseLevel, kind: str) -> Value:
    """v in the sense of the kind: noise - clean for flow models."""
    return noise - clean if kind == FLOW else level.alpha * noise - level.sigma * clean
