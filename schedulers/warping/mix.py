"""Mixing of warped and independent noise: strength, Go-with-the-Flow's degradation gamma, and a mix by wavelength.

Every mix of two independent standard normal noises here is standard normal and white.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from videogen.core.checks import in_range
from videogen.core.errors import InputError

if TYPE_CHECKING:
    import torch


def correlation_of_degradation(degradation: float) -> float:
    """Correlation retained at Go-with-the-Flow's degradation gamma, 0 to 1: (1 - g) / sqrt((1 - g)^2 + g^2)."""
    weight = 1 - in_range("degradation", degradation, 0, 1)
    return weight / math.hypot(weight, degradation)


def low_pass_mix(warped: torch.Tensor, plain: torch.Tensor, cutoff: float, strength: float = 1.0) -> torch.Tensor:
    """Low frequencies of one noise and high frequencies of another, per frame: F(warped) L + F(plain) sqrt(1 - L^2).
    The spectrum stays flat.

    Both [..., height, width]; L = strength * exp(-f^2 / (2 cutoff^2)), f and cutoff in cycles per latent pixel.
    """
    import torch

    height, width = warped.shape[-2:]
    fy = torch.fft.fftfreq(height, device=warped.device)[:, None]
    fx = torch.fft.rfftfreq(width, device=warped.device)
    low = strength * torch.exp(-(fx.square() + fy.square()) / (2 * cutoff**2))
    mixed = torch.fft.rfft2(warped) * low + torch.fft.rfft2(plain) * (1 - low.square()).sqrt()
    return torch.fft.irfft2(mixed, s=(height, width))


def resolve_strength(strength: float, degradation: float | None) -> float:
    """The correlation to retain, from either parameter. InputError where both are given, or one is out of range."""
    if degradation is None:
        return in_range("strength", strength, 0, 1)
    if strength != 1:
        raise InputError(f"strength={strength} and degradation={degradation} set the same thing; give one of them")
    return correlation_of_degradation(degradation)
