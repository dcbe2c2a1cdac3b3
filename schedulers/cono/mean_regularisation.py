"""CoNo's long-term consistency regularisation in closed form: a clip is drawn to the mean over frames of another
(2406.05082).

The paper takes a gradient step on the distance of the means, g = |mean_f eps1 - mean_f eps2|^2, eps2 <- eps2 - delta
dg/d eps2. g depends on eps2 alone, so this is exactly

    eps2 <- eps2 + strength * (mean_f eps1 - mean_f eps2)        strength = 2 delta / (frames * R)

with R = 1 where |.|^2 sums and R = channels * height * width where it averages: the paper does not say which, so a
strength from 0 (off) to 1 (equal means) is asked for and delta is an alias. Inferred too, so options: the space in
which to pull, the weight by noise level, low-passing, and where to stop. Pulling to a mean over time weakens motion:
switch it off at cuts and for large camera moves. Legend: [b, c, f, h, w]. Importing this loads no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videogen.core.checks import in_range
from videogen.core.errors import InputError, unknown
from videogen.schedulers.levels import NoiseLevel
from videogen.schedulers.solvers import FLOW

if TYPE_CHECKING:
    import torch

SPACES = ("prediction", "v", "x0", "eps")
_OWN = {"epsilon": "eps", "v_prediction": "v", FLOW: "v", "sample": "x0"}


@dataclass(frozen=True)
class MeanRegularisation:
    """How strongly to pull, on what, and in which steps. InputError for values out of range.

    strength: the share of the gap between the means that one step closes, at full noise. power: it falls as sigma^power
    with
        the noise level sigma, 1 to 0; 0: it does not. above: no pull where sigma is below this.
    space: what is pulled. `prediction`, whatever the model predicts (the paper's: noise, for noise-predicting models);
    or `v`,
        `x0`, `eps`. Pulling eps moves x0 by sigma / alpha as much: not for high noise.
    cutoff: only waves of the gap longer than 1 / cutoff latent pixels, fading out; None: all.
    """

    strength: float = 0.2
    power: float = 0.0
    space: str = "prediction"
    cutoff: float | None = None
    above: float = 0.0

    def __post_init__(self) -> None:
        if self.strength > 1:
            raise InputError(
                f"strength={self.strength} pulls past the other clip's mean and diverges; it must be between 0 and 1"
            )
        in_range("strength", self.strength, 0, 1)
        in_range("above", self.above, 0, 1)
        in_range("power", self.power, 0, math.inf)
        if self.space not in SPACES:
            raise unknown("space to pull in", self.space, SPACES)
        if self.cutoff is not None and not 0 < self.cutoff <= 1:
            raise InputError(
                f"cutoff={self.cutoff} must be above 0 and at most 1; leave it out to pull all wavelengths"
            )

    def at(self, level: NoiseLevel) -> float:
        """The strength at this noise level (of `noise_levels`)."""
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
        """The prediction [b, c, f, h, w] pulled to the source's mean; itself where the strength is 0.

        source: the other clip's prediction at this step, or its mean over frames (f = 1). kind: of `prediction_kind`.
        latents, source_latents (or its mean): what the model saw; needed where `space` is not what it predicts.
        """
        strength = self.at(level)
        own = _OWN[kind]
        if strength == 0 or self.space in ("prediction", own):
            return regularise_mean(prediction, source, strength, self.cutoff)
        if latents is None or source_latents is None:
            raise InputError(
                f"space={self.space} of a model that predicts {own} needs both clips' latents; give them, or space={own}"
            )
        scale, offset = coefficients(level, kind, self.space)
        gap = scale * _gap(prediction, source) + offset * _gap(latents, source_latents)
        return _moved(prediction, strength / scale * _low_pass(gap, self.cutoff))


def regularise_mean(
    prediction: torch.Tensor, source: torch.Tensor, strength: float, cutoff: float | None = None
) -> torch.Tensor:
    """prediction + strength (mean_f source - mean_f prediction), the source with any number of frames; itself at
    strength 0."""
    if strength == 0:
        return prediction
    return _moved(prediction, strength * _low_pass(_gap(prediction, source), cutoff))


def coefficients(level: NoiseLevel, kind: str, space: str) -> tuple[float, float]:
    """(a, b) of what `space` names = a * prediction + b * latents, for a model that predicts `kind`.

    latents = alpha x0 + sigma eps; v = eps - x0 for flow models and alpha eps - sigma x0 for others. InputError where
    the level has no such form: no signal, or no noise.
    """
    if space in ("prediction", _OWN[kind]):
        return 1.0, 0.0
    try:
        a, b = _coefficients(level.alpha, level.sigma, kind, space)
        1 / a
    except ZeroDivisionError:
        raise InputError(
            f"space={space} cannot be pulled at alpha={level.alpha:g} sigma={level.sigma:g} of a model that predicts {kind}; "
            f"use space={_OWN[kind]}"
        ) from None
    return a, b


def _coefficients(alpha: float, sigma: float, kind: str, space: str) -> tuple[float, float]:
    x0 = {"sample": (1.0, 0.0), "v_prediction": (-sigma, alpha), FLOW: (-sigma, 1.0)}.get(kind) or (
        -sigma / alpha,
        1 / alpha,
    )
    if space == "x0":
        return x0
    eps = -alpha * x0[0] / sigma, (1 - alpha * x0[1]) / sigma
    if space == "eps":
        return eps
    of_eps, of_x0 = (1.0, 1.0) if kind == FLOW else (alpha, sigma)
    return of_eps * eps[0] - of_x0 * x0[0], of_eps * eps[1] - of_x0 * x0[1]


def _gap(prediction: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Of the means over frames, [b, c, 1, h, w], in fp32 or better."""
    import torch

    wide = torch.promote_types(prediction.dtype, torch.float32)
    return source.to(wide).mean(2, keepdim=True) - prediction.to(wide).mean(2, keepdim=True)


def _moved(prediction: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    return (prediction.to(by.dtype) + by).to(prediction.dtype)


def _low_pass(gap: torch.Tensor, cutoff: float | None) -> torch.Tensor:
    """Gaussian over height and width, exp(-f^2 / (2 cutoff^2)), f in cycles a latent pixel; a frame's own mean
    stays."""
    import torch

    if cutoff is None:
        return gap
    height, width = gap.shape[-2:]
    fy = torch.fft.fftfreq(height, device=gap.device, dtype=gap.dtype)[:, None]
    fx = torch.fft.rfftfreq(width, device=gap.device, dtype=gap.dtype)
    kept = torch.exp(-(fx.square() + fy.square()) / (2 * cutoff**2))
    return torch.fft.irfft2(torch.fft.rfft2(gap) * kept, s=(height, width))
