"""Layerwise casting: layers stored in 8-bit floating point and cast to the dtype of the run for each call.

It is diffusers' hook, for models in full precision alone: the scales and codes of quantized layers lose their meaning
when they are cast.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from videogen.core.errors import UnsupportedError

from .quantized_layers import QuantizedLayer

STORAGE = torch.float8_e4m3fn
#: hooks of diffusers that it consists of
_HOOKS = ("layerwise_casting", "peft_autocast_disable")
#: whose modules are those of a model that no library has quantized
_PLAIN = ("torch", "diffusers", "transformers", "peft", "videogen")


def is_quantized_layer(layer: nn.Module) -> bool:
    """Whether a layer's weight is stored quantized: by videogen, by a library, or in 8-bit floating point."""
    if isinstance(layer, QuantizedLayer):
        return True
    weight = layer._parameters.get("weight", layer._buffers.get("weight"))
    if weight is None:
        return False
    foreign = type(layer).__module__.partition(".")[0] not in _PLAIN
    return foreign or type(weight) is not nn.Parameter or not weight.is_floating_point() or weight.element_size() == 1


def find_quantized_layer(model: nn.Module) -> str | None:
    """The name of the first layer that is stored quantized; None where all are in full precision."""
    return next((name for name, layer in model.named_modules() if is_quantized_layer(layer)), None)


def can_cast(model: nn.Module) -> bool:
    """Whether a model's layers can be stored in 8-bit floating point."""
    return hasattr(model, "enable_layerwise_casting") and find_quantized_layer(model) is None


def cast_layers(model: Any, compute_dtype: torch.dtype) -> None:
    """Store a model's layers in 8-bit floating point. UnsupportedError where any is quantized already."""
    quantized = find_quantized_layer(model)
    if quantized is not None:
        raise UnsupportedError(
            f"{type(model).__name__} cannot store its weights in fp8: {quantized} is quantized already; leave fp8 "
            "storage out, or load the model in full precision"
        )
    model.enable_layerwise_casting(storage_dtype=STORAGE, compute_dtype=compute_dtype)


def remove_casting(model: nn.Module) -> None:
    """Take the hooks off. The weights stay as they are stored: the caller has them in full precision."""
    for part in model.modules():
        registry: Any = getattr(part, "_diffusers_hook", None)
        for name in _HOOKS:
            hook = None if registry is None else registry.get_hook(name)
            if hook is not None:
                hook.deinitalize_hook = _leave_as_is  # the library's raises, since it does not have the weights
                registry.remove_hook(name, recurse=False)


def _leave_as_is(module: nn.Module) -> nn.Module:
    return module
