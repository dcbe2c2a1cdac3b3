"""Observation of a model: what its layers receive while it makes clips, and calls to try layers at."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

Tensor = torch.Tensor


@dataclass
class ModelCall:
    """Arguments of one call of the denoiser, and what it returned."""

    step: int
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    output: Tensor


@dataclass
class Observation:
    """squares: per step and layer, the mean square of each input channel [columns]; features: per step, the mean of
    each channel of the denoiser's output [c]; calls: the first of each step and clip."""

    squares: list[dict[str, Tensor]] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    calls: list[ModelCall] = field(default_factory=list)

    def importance(self, weights: list[float]) -> dict[str, Tensor]:
        """layer -> mean square of each input channel, over the steps with these weights."""
        names = {name for step in self.squares for name in step}
        total: dict[str, Tensor] = {}
        for name in names:
            rows = [(weight, step[name]) for weight, step in zip(weights, self.squares, strict=True) if name in step]
            mass = sum(weight for weight, _ in rows) or 1.0
            total[name] = torch.stack([weight * value for weight, value in rows]).sum(0) / mass
        return total


def observe(model: torch.nn.Module, layers: Mapping[str, torch.nn.Module], render: Callable[[], Any]) -> Observation:
    """Run `render`, which makes one or more clips with the model, and record its calls by step of each clip."""
    found, counts = Observation(), _StepCount(inspect.signature(type(model).forward))
    numbers: dict[tuple[int, str], int] = {}
    with _hooks(model, layers, found, counts, numbers):
        render()
    return found


class _StepCount:
    """Index of the step that a call belongs to: it rises with each new timestep, and starts again with each clip."""

    def __init__(self, signature: inspect.Signature) -> None:
        self._signature = signature
        self._last: float | None = None
        self.step, self.clip, self.is_new = -1, 0, False

    def update(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        bound = self._signature.bind_partial(None, *arguments, **keywords).arguments
        value = float(torch.as_tensor(bound["timestep"]).float().max())
        self.is_new = value != self._last
        if self.is_new:
            restarts = self._last is not None and value > self._last
            self.clip, self.step = (self.clip + 1, 0) if restarts else (self.clip, self.step + 1)
            self._last = value


@contextmanager
def _hooks(
    model: torch.nn.Module,
    layers: Mapping[str, torch.nn.Module],
    found: Observation,
    counts: _StepCount,
    numbers: dict[tuple[int, str], int],
) -> Iterator[None]:
    channels = getattr(getattr(model, "config", None), "out_channels", None)

    def before(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        counts.update(arguments, keywords)
        while len(found.squares) <= counts.step:
            found.squares.append({})

    def after(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        result = output_tensor(output)
        if counts.is_new:
            found.calls.append(ModelCall(counts.step, _copy(arguments), _copy(keywords), result.clone()))
            if len(found.features) <= counts.step:
                found.features.append(_mean_of_channels(result, channels))

    def record(name: str, layer: torch.nn.Module) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], None]:
        def hook(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            square = _mean_square(arguments[0] if arguments else next(iter(keywords.values())), layer)
            key = (counts.step, name)
            number = numbers.get(key, 0)
            old = found.squares[counts.step].get(name, torch.zeros_like(square))
            found.squares[counts.step][name], numbers[key] = (old * number + square) / (number + 1), number + 1

        return hook

    handles = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.register_forward_hook(after, with_kwargs=True),
        *(layer.register_forward_pre_hook(record(name, layer), with_kwargs=True) for name, layer in layers.items()),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mean_of_channels(output: Tensor, channels: int | None) -> Tensor:
    """Over the batch, frames and positions, [c]. output: [b, c, f, h, w], [b, f, c, h, w] or [b, tokens, c]; channels:
    c, where the model states it."""
    axis = 1
    if output.dim() == 3 or (output.dim() == 5 and output.shape[1] != channels and output.shape[2] == channels):
        axis = 2
    return output.float().transpose(0, axis).flatten(1).mean(1)


def _mean_square(values: Tensor, layer: torch.nn.Module) -> Tensor:
    """Of each column of the layer's flattened weight: of a convolution, each channel's for all its taps."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if weight.dim() == 2:
        return values.detach().float().square().flatten(0, -2).mean(0)
    channels = values.detach().float().square().transpose(0, 1).flatten(1).mean(1)
    groups = len(channels) // weight.shape[1]
    return channels.reshape(groups, -1).mean(0).repeat_interleave(weight[0, 0].numel())


def output_tensor(output: Any) -> Tensor:
    """What a denoiser predicts, of whichever form it returns."""
    first = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
    assert isinstance(first, Tensor)
    return first.detach()


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _copy(part) for name, part in value.items()}
    return tuple(_copy(part) for part in value) if isinstance(value, tuple) else value
