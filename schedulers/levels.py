"""Noise level: how much signal and noise latents contain, whatever a solver's convention."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
        """Error of the final latents per unit of error in the clean latents predicted at the step from here to `after`.

        The clean prediction's coefficient in DDIM's and Euler's step, then carried to the end as the flow of Gaussian
        data of unit variance carries it: exact for those, a scale for others.
        """
        taken = after.alpha - self.alpha * after.sigma / max(self.sigma, 1e-12)
        return max(0.0, taken) / max(math.hypot(after.alpha, after.sigma), 1e-12)
