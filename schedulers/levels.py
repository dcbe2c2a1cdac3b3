"""How much signal and noise a solver's latents hold at each of its steps, whatever its convention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .solvers import FLOW, prediction_kind

_END = 1e-3  # ratios beyond this have no finite logarithm worth having


@dataclass(frozen=True)
class NoiseLevel:
    """Latents = alpha * clean + sigma * noise, in the scale in which the model sees them."""

    alpha: float
    sigma: float

    @property
    def log_snr(self) -> float:
        """Half the log signal-to-noise ratio, finite at both ends."""
        return math.log(max(self.alpha, _END)) - math.log(max(self.sigma, _END))

    def step_gain(self, after: NoiseLevel) -> float:
        """What an error of 1 in the predicted clean latents, at the step from here to `after`, is in the final latents.

        The clean prediction's coefficient in DDIM's and Euler's step, then carried to the end as the flow of Gaussian
        data of unit variance carries it: exact for those, a scale for others.
        """
        taken = after.alpha - self.alpha * after.sigma / max(self.sigma, 1e-12)
        return max(0.0, taken) / max(math.hypot(after.alpha, after.sigma), 1e-12)

    def clean_error(self, kind: str) -> float:
        """What an error of 1 in a prediction of this kind is as an error of the clean latents."""
        if kind == "sample":
            return 1.0
        return self.sigma / max(self.alpha, _END) if kind == "epsilon" else self.sigma


def noise_levels(scheduler: Any) -> list[NoiseLevel] | None:
    """The level before each step, and after the last; None where a scheduler does not tell."""
    steps = len(scheduler.timesteps)
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and len(sigmas) == steps + 1:
        values = [float(s) for s in sigmas]
        if prediction_kind(scheduler) == FLOW:
            return [NoiseLevel(1 - s, s) for s in values]
        return [NoiseLevel(1 / math.hypot(1, s), s / math.hypot(1, s)) for s in values]
    products = getattr(scheduler, "alphas_cumprod", None)
    if products is None:
        return None
    kept = [float(products[min(max(round(float(t)), 0), len(products) - 1)]) for t in scheduler.timesteps]
    return [NoiseLevel(math.sqrt(k), math.sqrt(1 - k)) for k in kept] + [NoiseLevel(1.0, 0.0)]
