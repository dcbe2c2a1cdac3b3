"""Noise level: how much signal and noise latents contain, whatever a solver's convention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from videogen.core.errors import InputError

from .parametrization import FLOW

_ROUNDING = 1e-6  # of sigmas in 32 bits
_END = 1e-3  # ratios beyond this have no finite logarithm worth having


@dataclass(frozen=True)
class NoiseLevel:
    """Latents = alpha * clean + sigma * noise, in the scale in which the model sees them."""

    alpha: float
    sigma: float

    @classmethod
    def from_sigma(cls, sigma: float, *, flow: bool) -> NoiseLevel:
        """The level that a sampler names by one number.

        flow: for flow-matching models, sigma from 0 to 1 with alpha = 1 - sigma; else the ratio of noise to signal
        (Karras et al. 2206.00364), for models that see latents of unit variance.
        """
        if flow:
            return cls(1 - sigma, sigma)
        return cls(1 / math.hypot(1, sigma), sigma / math.hypot(1, sigma))

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


def levels_from_sigmas(sigmas: Sequence[float], kind: str) -> list[NoiseLevel]:
    """The noise level before each step of a sampler and after the last: of its sigmas [steps + 1], which fall.

    kind: of the model's prediction, one of `KINDS`. Raises InputError.
    """
    values = [float(sigma) for sigma in sigmas]
    if len(values) < 2:
        raise InputError(f"sigmas={values} have no step; give the level before each step and after the last")
    if not all(math.isfinite(sigma) and sigma >= 0 for sigma in values):
        raise InputError(f"sigmas={values} must be numbers of at least 0")
    if any(after > before for before, after in pairwise(values)):
        raise InputError(f"sigmas={values} must fall from step to step")
    if kind == FLOW and values[0] > 1:
        raise InputError(f"sigmas={values} of a flow model must be from 0 to 1; give kind='epsilon' for others")
    return [NoiseLevel.from_sigma(sigma, flow=kind == FLOW) for sigma in values]


def step_at(sigmas: Sequence[float], sigma: float) -> int:
    """The step, from 0, of a model call at this sigma: steps are counted by level, as some samplers call the model
    several times per step.

    sigmas [steps + 1]: of the run, falling. A call between two levels belongs to the step that begins at the higher
    one, and one at the last level to the last step.
    """
    tolerance = _ROUNDING * max(1.0, abs(sigma))
    passed = sum(float(level) >= sigma - tolerance for level in sigmas)
    return min(max(passed - 1, 0), max(len(sigmas) - 2, 0))
