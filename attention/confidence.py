"""Lower confidence bound of a mean, from a sample of values in 0..1; valid also for few samples and rare misses.

A normal approximation is not: from 64 rows without a miss it concludes that there never is one.
"""

from __future__ import annotations

import math

import torch

#: Stakes of the bets, as fractions of the most that can be staked.
_STAKES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.96, 0.99)
_HALVINGS = 14


def rows_to_show(recall: float, error: float) -> int:
    """How many rows a sample needs to show a mean of `recall` if half of the permitted mass is really missing."""
    return math.ceil(2 * (math.log(1 / error) + 2) / max(1e-3, 1 - recall))


def exceeds(values: torch.Tensor, mean: float, error: float) -> torch.Tensor:
    """Whether values in 0..1, drawn independently along the last axis, show that their mean is at least `mean`: bool.

    Wrong with a probability of at most `error`. Betting (Waudby-Smith and Ramdas 2024, section 4; Ville's inequality):
    if the mean were lower, the mean fortune of several constant stakes would reach 1 / error no more often than that.
    """
    return _log_fortune(values, torch.full(values.shape[:-1], mean, device=values.device)) >= math.log(1 / error)


def lower_bound(values: torch.Tensor, error: float) -> torch.Tensor:
    """The largest mean that `exceeds` shows, to 1e-4, over the last axis. An `error` of 0 means that these are all
    values."""
    sample = values.mean(-1)
    if error == 0:
        return sample
    low, high = torch.zeros_like(sample), sample.clone()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        certain = _log_fortune(values, middle) >= math.log(1 / error)
        low, high = torch.where(certain, middle, low), torch.where(certain, high, middle)
    return torch.where(sample.isfinite(), low, sample)


def _log_fortune(values: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Log of the mean over stakes s of the product of 1 + s (x / mean - 1)."""
    gain = values / mean.clamp_min(1e-6).unsqueeze(-1) - 1
    stakes = torch.tensor(_STAKES, dtype=values.dtype, device=values.device).unsqueeze(-1)
    return (gain.unsqueeze(-2) * stakes).log1p_().sum(-1).logsumexp(-1) - math.log(len(_STAKES))
