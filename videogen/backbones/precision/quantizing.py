"""Quantization of a loaded model in place, and its storage: a component's folder with encoded weights.

The folder holds the library's `config.json`, `diffusion_pytorch_model.safetensors` with the encoded tensors, and
`quantized.json`: the format of each layer. Nothing in it is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from videogen.core.errors import CheckpointError, InputError
from videogen.core.files import atomic_path

from .encoding import encode
from .fp32_modules import fp32_modules, stays_in_fp32
from .quantized_layers import can_quantize, quantized_layer, replace_layer
from .selection import find_quantizable
from .weight_format import WeightFormat, parse_format

FORMATS_FILE = "quantized.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
_VERSION = 1


def quantize(
    model: torch.nn.Module,
    formats: WeightFormat | Mapping[str, WeightFormat],
    importance: Mapping[str, torch.Tensor] | None = None,
    *,
    search: bool = True,
) -> None:
    """Encode a model's layers in place. formats: one for all layers of the blocks, or one per layer's name.
    importance: layer -> mean square of each input channel [columns]; search: as for `encode`."""
    layers = find_quantizable(model)
    chosen = dict.fromkeys(layers, formats) if isinstance(formats, WeightFormat) else dict(formats)
    for name, weight_format in chosen.items():
        layer: Any = model.get_submodule(name)
        weighted = None if importance is None else importance.get(name)
        encoded = encode(layer.weight.flatten(1), weight_format, weighted, search=search)
        replace_layer(model, name, quantized_layer(layer, weight_format, encoded))


def save_quantized(model: Any, folder: Path, formats: Mapping[str, WeightFormat]) -> None:
    """Write a quantized model's folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    model.save_config(folder)
    values = {"version": _VERSION, "layers": {name: weight_format.name for name, weight_format in formats.items()}}
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS_FILE) as target:
        save_file(tensors, target, metadata={"format": "pt"})
    with atomic_path(folder / FORMATS_FILE) as target:
        target.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def is_quantized(folder: Path) -> bool:
    """Whether a component's folder holds encoded weights."""
    return (folder / FORMATS_FILE).is_file()


def load_quantized(model_class: Any, folder: Path, dtype: torch.dtype) -> Any:
    """The model of a folder that `save_quantized` wrote. CheckpointError where its files are damaged or do not fit."""
    from accelerate import init_empty_weights
    from safetensors.torch import load_file

    formats = read_formats(folder)
    with init_empty_weights(include_buffers=False):
        model = model_class.from_config(model_class.load_config(folder))
    for name, weight_format in formats.items():
        replace_layer(model, name, quantized_layer(_layer(model, name, folder), weight_format))
    in_fp32 = fp32_modules(model_class)
    state = load_file(folder / WEIGHTS_FILE)
    for name, value in state.items():
        if value.is_floating_point() and ".encoded_" not in name and not stays_in_fp32(name, in_fp32):
            state[name] = value.to(dtype)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / WEIGHTS_FILE} does not fit {FORMATS_FILE}: {str(error)[:300]}") from error
    for name in formats:
        layer: Any = model.get_submodule(name)
        if layer.encoded_codes.dtype != torch.uint8:
            raise CheckpointError(
                f"{folder / WEIGHTS_FILE}: the codes of {name} are {layer.encoded_codes.dtype}, not bytes; the file is "
                "damaged: copy it again"
            )
        layer.weight_dtype = dtype
    return model


def read_formats(folder: Path) -> dict[str, WeightFormat]:
    """layer -> format, of a quantized component's folder. CheckpointError where the file is damaged."""
    path = folder / FORMATS_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version, layers = values["version"], values["layers"]
        formats = {str(name): parse_format(weight_format) for name, weight_format in layers.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, InputError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; it is damaged: copy it again") from error
    if version != _VERSION:
        raise CheckpointError(f"{path} is of version {version!r}, and this videogen reads {_VERSION}; update videogen")
    return formats


def _layer(model: torch.nn.Module, name: str, folder: Path) -> torch.nn.Module:
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        layer = None
    if layer is None or not can_quantize(layer):
        raise CheckpointError(
            f"{folder / FORMATS_FILE} names {name!r}, which is no linear layer or convolution of "
            f"{type(model).__name__}; it belongs to another model"
        )
    return layer
