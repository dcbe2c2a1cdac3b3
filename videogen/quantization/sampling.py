"""Sampling of the steps that a quantization is calibrated on: a weight for each step, and the steps that are tried."""

from __future__ import annotations

import torch

from .observing import Observation
from .options import QuantizeOptions

Tensor = torch.Tensor
#: of the normal distribution around a point of the run, as a fraction of it (PTQ4DM takes half of the run)
_SPREAD = 0.25
#: of the diversity against the density (EDA-DM)
_DIVERSITY = 1.0
#: steps with features this near, in units of the median distance, count as neighbours
_NEIGHBOURS = 0.5


def weigh_steps(observation: Observation, options: QuantizeOptions) -> list[float]:
    """A weight for each step of the run; they sum to 1."""
    count, point = len(observation.squares), options.normal_point
    if point is not None:
        places = torch.linspace(0, 1, count)
        weights = torch.exp(-0.5 * ((places - (1 - point)) / _SPREAD).square())
    elif options.sampling == "density":
        weights = _density_weights(torch.stack(observation.features))
    else:
        weights = torch.ones(count)
    return list((weights / weights.sum()).tolist())


def choose_steps(weights: list[float], samples: int) -> list[int]:
    """The steps that are tried: at equal intervals of the summed weights. A step may be chosen more than once."""
    borders = torch.tensor(weights).cumsum(0)
    places = (torch.arange(samples) + 0.5) / samples * float(borders[-1])
    return [min(int(step), len(weights) - 1) for step in torch.searchsorted(borders, places)]


def _density_weights(features: Tensor) -> Tensor:
    """Of steps with these features [steps, values]: how many others are like them, plus how far they are from all."""
    count = len(features)
    if count < 2:
        return torch.ones(count)
    others = ~torch.eye(count, dtype=torch.bool)
    distances = torch.cdist(features, features)
    near = distances < _NEIGHBOURS * distances[others].median().clamp(min=1e-12)
    density = (near & others).sum(1).float()
    unit = torch.nn.functional.normalize(features, dim=1)
    diversity = ((1 - unit @ unit.T) * others).sum(1)
    return _normalise(density) + _DIVERSITY * _normalise(diversity) + 1e-6


def _normalise(values: Tensor) -> Tensor:
    total = values.sum()
    return values / total if total > 0 else torch.full_like(values, 1 / len(values))
