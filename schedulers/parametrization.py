"""Prediction types of diffusion models: noise, v, flow and sample, and the conversions between them.

With latents = alpha * clean + sigma * noise, a model predicts one of

    epsilon        noise
    v_prediction   alpha * noise - sigma * clean     (Salimans & Ho 2202.00512; alpha^2 + sigma^2 = 1)
    flow           noise - clean                     (flow matching 2210.02747; alpha + sigma = 1)
    sample         clean

Importing this module does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def clean_latents(latents: torch.Tensor, prediction: torch.Tensor, level: NoiseLevel, kind: str) -> torch.Tensor:
    """The clean latents that a prediction of this kind implies; all of one shape, in the model's scale."""
    if kind == "sample":
        return prediction
    if kind == "epsilon":
        return (latents - level.sigma * prediction) / max(level.alpha, _LEAST_ALPHA)
    if kind == FLOW:
        return latents - level.sigma * prediction
    return level.alpha * latents - level.sigma * prediction


def implied_noise(latents: torch.Tensor, prediction: torch.Tensor, level: NoiseLevel, kind: str) -> torch.Tensor:
    """The noise that a prediction of this kind implies; all of one shape, in the model's scale."""
    if kind == "epsilon":
        return prediction
    if kind == "v_prediction":
        return level.sigma * latents + level.alpha * prediction
    if kind == FLOW:
        return latents + level.alpha * prediction
    return noise_between(latents, prediction, level)


def noise_between(latents: torch.Tensor, clean: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    """The noise by which latents at this level differ from clean ones."""
    return (latents - level.alpha * clean) / max(level.sigma, _LEAST_SIGMA)


def prediction_for(latents: torch.Tensor, clean: torch.Tensor, level: NoiseLevel, kind: str) -> torch.Tensor:
    """The prediction of this kind that leads from latents at this level to known clean latents."""
    if kind == "sample":
        return clean
    noise = noise_between(latents, clean, level)
    if kind == "epsilon":
        return noise
    return noise - clean if kind == FLOW else level.alpha * noise - level.sigma * clean


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
    alpha, sigma = level.alpha, level.sigma
    x0 = {"sample": (1.0, 0.0), "v_prediction": (-sigma, alpha), FLOW: (-sigma, 1.0)}.get(kind) or (
        -sigma / alpha,
        1 / alpha,
    )
    if quantity == "x0":
        return x0
    eps = -alpha * x0[0] / sigma, (1 - alpha * x0[1]) / sigma
    if quantity == "eps":
        return eps
    of_eps, of_x0 = (1.0, 1.0) if kind == FLOW else (alpha, sigma)
    return of_eps * eps[0] - of_x0 * x0[0], of_eps * eps[1] - of_x0 * x0[1]
