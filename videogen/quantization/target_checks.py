"""What a quantization can reach, from the sizes of layers alone: before a clip is rendered."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from videogen.backbones.precision.quantized_layers import QuantizedLayer
from videogen.backbones.precision.selection import find_quantizable, is_time_layer
from videogen.backbones.precision.weight_format import parse_format
from videogen.core.errors import InputError, UnsupportedError

from .options import QuantizeOptions

Layers = Mapping[str, torch.nn.Module]


def find_layers(name: str, model: torch.nn.Module, options: QuantizeOptions) -> dict[str, torch.nn.Module]:
    """The layers of a denoiser that are quantized, by name. UnsupportedError where it has none or is quantized already;
    InputError for a format of time layers that it does not have."""
    if any(isinstance(module, QuantizedLayer) for module in model.modules()):
        raise UnsupportedError(f"{name} is quantized already; quantize the checkpoint that it was made from")
    layers = find_quantizable(model, time_layers=options.time_format is not None)
    if not layers:
        raise UnsupportedError(f"{name} ({type(model).__name__}) has no linear layers in blocks to quantize")
    if options.time_format is not None and not any(is_time_layer(layer) for layer in layers):
        raise InputError(
            f"time_format={options.time_format!r}: no block of {name} ({type(model).__name__}) has a layer that "
            "computes with the timestep alone; leave it out"
        )
    return layers


def check_target(models: Mapping[str, torch.nn.Module], layers: Mapping[str, Layers], options: QuantizeOptions) -> None:
    """InputError for a size below the smallest possible, and for one format whose copy would not be smaller."""
    full = sum(_size(weight) for model in models.values() for weight in model.parameters())
    chosen = [_weight(layer) for found in layers.values() for layer in found.values()]
    rest = full - sum(_size(weight) for weight in chosen)
    smallest = rest + sum(
        _least_bytes(_weight(layer), options, is_time=is_time_layer(name))
        for found in layers.values()
        for name, layer in found.items()
    )
    if options.to is not None and smallest >= full:
        raise InputError(
            f"to={options.to!r} gives {smallest / 1e6:.1f} MB, no less than the model's {full / 1e6:.1f} MB; give a "
            "format of fewer bits, or a low-rank branch of a smaller rank"
        )
    if options.target_bytes is not None and options.target_bytes < smallest:
        names = ", ".join(how.name for how in options.candidates)
        raise InputError(
            f"target={options.target} is less than the smallest possible, {smallest / 1e6:.1f} MB with {names}; allow "
            "more bytes, or smaller formats such as int2"
        )


def _least_bytes(weight: torch.Tensor, options: QuantizeOptions, *, is_time: bool) -> int:
    fixed = options.time_format if is_time else None
    formats = options.candidates if fixed is None else [parse_format(fixed)]
    rows = weight.shape[0]
    return min(how.count_bytes(rows, weight.numel() // rows) for how in formats)


def _weight(layer: torch.nn.Module) -> torch.Tensor:
    found = layer.weight
    assert isinstance(found, torch.Tensor)
    return found


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
