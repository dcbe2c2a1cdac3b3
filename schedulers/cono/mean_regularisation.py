"""CoNo's long-term consistency regularisation in closed form: a clip is moved towards the mean over frames of another
clip (2406.05082).

The paper takes a gradient step on the distance of the means, g = |mean_f eps1 - mean_f eps2|^2, eps2 <- eps2 - delta
dg/d eps2. g depends on eps2 alone, so this is exactly

    eps2 <- eps2 + strength * (mean_f eps1 - mean_f eps2)        strength = 2 delta / (frames * R)

with R = 1 where |.|^2 is a sum and R = channels * height * width where it is a mean. The paper does not say which (with
sums, its constants of 140 and 260 at 16 frames diverge), so the parameter here is the strength, from 0 (off) to 1
(equal means). Also inferred, hence options: the space, the weight by noise level, a low-pass filter, and the level at
which to stop. Regularising to a mean over time weakens motion: switch it off at cuts and for large camera moves.
Legend: [b, c, f, h, w]. Importing this module does not load torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videogen.core.checks import in_range
from videogen.core.errors import InputError, unknown
from videogen.schedulers.levels import NoiseLevel
from videogen.schedulers.parametrization import SHORT, linear_form

if TYPE_CHECKING:
    import torch

SPACES = ("prediction", "v", "x0", "eps")


@dataclass(frozen=True)
class MeanRegularisation:
    """Strength, space and noise levels of the regularisation. InputError for values out of range.

    strength: the fraction of the gap between the means that one step closes, at full noise. power: the strength scales
    as sigma^power with the noise level sigma, 1 to 0; 0: constant. above: no regularisation where sigma is below this.
    space: the regularised quantity: `prediction`, the model's own type (the paper's choice: noise, for noise-predicting
    models), or `v`, `x0`, `eps`. A change of eps changes x0 by sigma / alpha as much: unsuitable at high noise. cutoff:
    only wavelengths of the gap above 1 / cutoff latent pixels, with a smooth transition; None: all.
    """

    strength: float = 0.2
    power: float = 0.0
    space: str = "prediction"
    cutoff: float | None = None
    above: float = 0.0

    def __post_init__(self) -> None:
        if self.strength > 1:
            raise InputError(
                f"strength={self.strength} moves past the other clip's mean and diverges; it must be between 0 and 1"
            )
        in_range("strength", self.strength, 0, 1)
        in_range("above", self.above, 0, 1)
        in_range("power", self.power, 0, math.inf)
        if self.space not in SPACES:
            raise unknown("space of the mean regularisation", self.space, SPACES)
        if self.cutoff is not None and not 0 < self.cutoff <= 1:
            raise InputError(
                f"cutoff={self.cutoff} must be above 0 and at most 1; leave it out to regularise all wavelengths"
            )

    def at(self, level: NoiseLevel) -> float:
        """The strength at this noise level (of a solver's `levels`)."""
        return self.strength * level.sigma**self.power if level.sigma >= self.above else 0.0

    def apply(
        self,
        prediction: torch.Tensor,
        source: torch.Tensor,
        level: NoiseLevel,
        kind: str,
        latents: torch.Tensor | None = None,
        source_latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The prediction [b, c, f, h, w] moved towards the source's mean; the same object where the strength is 0.

        source: the other clip's prediction at this step, or its mean over frames (f = 1). kind: of the prediction, one
        of `KINDS`.
        latents, source_latents (or their mean): the model's inputs; needed where `space` differs from the prediction.
        """
        strength = self.at(level)
        own = SHORT[kind]
        if strength == 0 or self.space in ("prediction", own):
            return regularise_mean(prediction, source, strength, self.cutoff)
        if latents is None or source_latents is None:
            raise InputError(
                f"space={self.space} of a model that predicts {own} needs both clips' latents; give them, or "
                f"space={own}"
            )
        scale, offset = coefficients(level, kind, self.space)
        gap = scale * _gap(prediction, source) + offset * _gap(latents, source_latents)
        return _add_wide(prediction, strength / scale * _low_pass(gap, self.cutoff))


def regularise_mean(
    prediction: torch.Tensor, source: torch.Tensor, strength: float, cutoff: float | None = None
) -> torch.Tensor:
    """prediction + strength (mean_f source - mean_f prediction), the source with any number of frames; itself at
    strength 0."""
    if strength == 0:
        return prediction
    return _add_wide(prediction, strength * _low_pass(_gap(prediction, source), cutoff))


def coefficients(level: NoiseLevel, kind: str, space: str) -> tuple[float, float]:
    """(a, b) of what `space` names = a * prediction + b * latents, for a model that predicts `kind`.

    latents = alpha x0 + sigma eps; v = eps - x0 for flow models and alpha eps - sigma x0 for others. InputError where
    the level has no such form: no signal, or no noise.
    """
    if space in ("prediction", SHORT[kind]):
        return 1.0, 0.0
    try:
        a, b = linear_form(level, kind, space)
        1 / a
    except ZeroDivisionError:
        raise InputError(
            f"space={space} cannot be pulled at alpha={level.alpha:g} sigma={level.sigma:g} of a model that predicts "
            f"{kind}; "
            f"use space={SHORT[kind]}"
        ) from None
    return a, b


def _gap(prediction: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Difference of the means over frames, [b, c, 1, h, w], in fp32 or better."""
    import torch

    wide = torch.promote_types(prediction.dtype, torch.float32)
    return source.to(wide).mean(2, keepdim=True) - prediction.to(wide).mean(2, keepdim=True)


def _add_wide(prediction: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Sum in the change's dtype, returned in the prediction's."""
    return (prediction.to(change.dtype) + change).to(prediction.dtype)


def _low_pass(gap: torch.Tensor, cutoff: float | None) -> torch.Tensor:
    """Gaussian low-pass filter over height and width, exp(-f^2 / (2 cutoff^2)), f in cycles per latent pixel; the mean
    of a frame is unchanged."""
    import torch

    if cutoff is None:
        return gap
    height, width = gap.shape[-2:]
    fy = torch.fft.fftfreq(height, device=gap.device, dtype=gap.dtype)[:, None]
    fx = torch.fft.rfftfreq(width, device=gap.device, dtype=gap.dtype)
    response = torch.exp(-(fx.square() + fy.square()) / (2 * cutoff**2))
    return torch.fft.irfft2(torch.fft.rfft2(gap) * response, s=(height, width))
