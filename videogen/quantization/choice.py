"""Choice of a format per layer: the least predicted error of the model's output for a size.

A layer's error in a format is that of its output, from its inputs' mean squares; what it does to the model's output is
measured once per layer, by trying the layer alone, and scales with its own error.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from videogen.backbones.precision.encoding import EncodedWeight, decode, encode
from videogen.backbones.precision.quantized_layers import quantized_layer, replace_layer
from videogen.backbones.precision.weight_format import WeightFormat

from .observing import ModelCall, output_tensor

Tensor = torch.Tensor


@dataclass(frozen=True)
class Candidate:
    """A layer in a format. error: predicted relative squared error of the model's output."""

    how: WeightFormat
    size: int
    error: float


@dataclass(frozen=True)
class Trial:
    """A layer tried alone in one format: relative squared errors of its own output and of the model's."""

    own: float
    model: float


def layer_error(weight: Tensor, encoded: EncodedWeight, how: WeightFormat, importance: Tensor | None) -> float:
    """Relative squared error of a layer's output in a format, for inputs with these mean squares per channel."""
    flat = weight.detach().float().flatten(1)
    weights = torch.ones(flat.shape[1], device=flat.device) if importance is None else importance
    difference = decode(encoded, how, flat.shape[1], torch.float32) - flat
    return float((difference.square() * weights).sum() / (flat.square() * weights).sum().clamp(min=1e-30))


@torch.no_grad()
def try_layer(model: torch.nn.Module, name: str, how: WeightFormat, encoded: EncodedWeight, calls: list[ModelCall],
              own: float) -> Trial:  # fmt: skip
    """Call the model with one layer encoded, at the sampled calls. The model is as before afterwards."""
    layer: Any = model.get_submodule(name)
    replace_layer(model, name, quantized_layer(layer, how, encoded))
    try:
        errors = [_call_error(model, call) for call in calls]
    finally:
        replace_layer(model, name, layer)
    return Trial(own, sum(errors) / len(errors))


def _call_error(model: torch.nn.Module, call: ModelCall) -> float:
    found = output_tensor(model(*call.arguments, **call.keywords)).float()
    return float((found - call.output.float()).square().sum() / call.output.float().square().sum().clamp(min=1e-30))


def list_candidates(
    weight: Tensor, formats: list[WeightFormat], importance: Tensor | None, trial: Trial, *, search: bool
) -> list[Candidate]:
    """Of one layer: each format with its size and its error, scaled from the trial; from small to large, without those
    that are larger and no better, or larger than the weight itself."""
    flat = weight.flatten(1)
    found = []
    for how in formats:
        encoded = encode(flat, how, importance, search=search)
        ratio = layer_error(weight, encoded, how, importance) / max(trial.own, 1e-30)
        found.append(Candidate(how, how.count_bytes(flat.shape[0], flat.shape[1]), trial.model * ratio))
    full = weight.numel() * weight.element_size()
    found = [one for one in found if one.size < full] or [min(found, key=lambda one: one.size)]
    best: list[Candidate] = []
    for candidate in sorted(found, key=lambda one: (one.size, one.error)):
        if not best or candidate.error < best[-1].error:
            best.append(candidate)
    return _convex(best)


def choose(candidates: Mapping[str, list[Candidate]], budget: int) -> dict[str, Candidate]:
    """The candidate of each layer that the budget of bytes allows, with the least sum of errors: from the smallest, the
    change that saves most error per byte first. The smallest of all, where they exceed the budget."""
    chosen = dict.fromkeys(candidates, 0)
    size = sum(rows[0].size for rows in candidates.values())
    queue = [(-_gain(rows, 0), name) for name, rows in candidates.items() if len(rows) > 1]
    heapq.heapify(queue)
    while queue:
        _, name = heapq.heappop(queue)
        rows, at = candidates[name], chosen[name]
        more = rows[at + 1].size - rows[at].size
        if size + more > budget:
            continue
        size, chosen[name] = size + more, at + 1
        if at + 2 < len(rows):
            heapq.heappush(queue, (-_gain(rows, at + 1), name))
    return {name: candidates[name][at] for name, at in chosen.items()}


def _gain(rows: list[Candidate], at: int) -> float:
    """Error saved per byte by the next larger candidate."""
    return (rows[at].error - rows[at + 1].error) / (rows[at + 1].size - rows[at].size)


def _convex(rows: list[Candidate]) -> list[Candidate]:
    """Those on the lower convex hull: each step to a larger one saves less per byte than the one before."""
    hull: list[Candidate] = []
    for row in rows:
        while len(hull) > 1 and _gain([hull[-2], hull[-1]], 0) < _gain([hull[-2], row], 0):
            hull.pop()
        hull.append(row)
    return hull
