"""Quantized layers: a linear layer or convolution that stores its weight encoded and decodes it for each call.

They are of torch's own classes (`nn.Linear`, `nn.Conv2d`, ...), so that LoRAs, offloading and the techniques' hooks
treat them as any other layer; `weight` is the decoded one.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from .encoding import EncodedWeight, decode, empty_like_encoded
from .weight_format import WeightFormat

Tensor = torch.Tensor
_TENSORS = ("codes", "scale", "offset", "up", "down")


class QuantizedLayer(torch.nn.Module):
    """Base of the quantized classes: the encoded weight in buffers, so that it is saved, moved and offloaded.

    weight_format: of the stored weight; shape: of the decoded one; weight_dtype: of the `weight` that LoRAs read.
    """

    weight_format: WeightFormat
    shape: tuple[int, ...]
    weight_dtype: torch.dtype

    @property
    def weight(self) -> Tensor:
        return self.decode(self.weight_dtype)

    def decode(self, dtype: torch.dtype) -> Tensor:
        encoded = EncodedWeight(**{name: getattr(self, f"encoded_{name}") for name in _TENSORS})
        return decode(encoded, self.weight_format, prod(self.shape[1:]), dtype).reshape(self.shape)

    def set_encoded(self, encoded: EncodedWeight) -> None:
        for name in _TENSORS:
            self.register_buffer(f"encoded_{name}", getattr(encoded, name))


class QuantizedLinear(QuantizedLayer, torch.nn.Linear):  # type: ignore[misc, override]
    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.functional.linear(input, self.decode(input.dtype), self.bias)


class _QuantizedConvolution(QuantizedLayer):
    bias: Any
    _conv_forward: Any

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.decode(input.dtype), self.bias)


class QuantizedConv1d(_QuantizedConvolution, torch.nn.Conv1d): ...  # type: ignore[misc, override]


class QuantizedConv2d(_QuantizedConvolution, torch.nn.Conv2d): ...  # type: ignore[misc, override]


class QuantizedConv3d(_QuantizedConvolution, torch.nn.Conv3d): ...  # type: ignore[misc, override]


_CLASSES: dict[type[torch.nn.Module], type[QuantizedLayer]] = {
    torch.nn.Linear: QuantizedLinear,
    torch.nn.Conv1d: QuantizedConv1d,
    torch.nn.Conv2d: QuantizedConv2d,
    torch.nn.Conv3d: QuantizedConv3d,
}


def can_quantize(layer: torch.nn.Module) -> bool:
    """Whether a layer is of a class with a quantized form; subclasses may compute differently and are not quantized."""
    return type(layer) in _CLASSES


def quantized_layer(
    layer: torch.nn.Module, weight_format: WeightFormat, encoded: EncodedWeight | None = None
) -> QuantizedLayer:
    """The layer with an encoded weight in place of its own, and its own bias. encoded: None for uninitialised tensors,
    to load stored ones into."""
    quantized = _CLASSES[type(layer)].__new__(_CLASSES[type(layer)])
    torch.nn.Module.__init__(quantized)
    own = torch.nn.Module().__dict__.keys()
    quantized.__dict__.update({name: value for name, value in layer.__dict__.items() if name not in own})
    quantized.training = layer.training
    weight: Tensor = layer.weight  # type: ignore[assignment]
    quantized.weight_format, quantized.shape, quantized.weight_dtype = weight_format, tuple(weight.shape), weight.dtype
    quantized.register_parameter("bias", layer.bias)  # type: ignore[arg-type]
    quantized.set_encoded(
        empty_like_encoded(len(weight), prod(weight.shape[1:]), weight_format) if encoded is None else encoded
    )
    return quantized


def replace_layer(model: torch.nn.Module, name: str, layer: torch.nn.Module) -> None:
    """Put a layer in place of the one of this name, such as `blocks.0.ffn.net.2`."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)
