"""Stored weights: bytes of the layers that a checkpoint, or a loaded model, holds in another form than full precision.

They are read from the headers of a checkpoint's files (videogen's own quantized folders, GGUF, folders that a library
quantized), or measured on the loaded layers, with the matrices of LoRAs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videogen.backbones.checkpoints.header import read_header
from videogen.backbones.checkpoints.parts import Part
from videogen.backbones.checkpoints.single_file import fit_file, outline_tensors
from videogen.backbones.checkpoints.sources import ModelSources
from videogen.backbones.checkpoints.tensors import GGUF
from videogen.backbones.precision.fp32_modules import fp32_modules, stays_in_fp32
from videogen.backbones.precision.layerwise_casting import is_quantized_layer
from videogen.backbones.precision.quantized_layers import QuantizedLayer
from videogen.backbones.precision.quantizing import WEIGHTS_FILE, is_quantized, read_formats

#: of a GGUF, that are loaded in the dtype of the run
_PLAIN = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class StoredWeights:
    """Of one component. layers: name -> bytes, of those that are not stored as plain weights; quantized: the names of
    those that are decoded for each call; is_own: whether they are of videogen's own formats."""

    layers: Mapping[str, int] = field(default_factory=dict)
    quantized: frozenset[str] = frozenset()
    is_own: bool = False


def measure_stored(model: nn.Module) -> StoredWeights:
    """Of a loaded component: its quantized layers, and those that LoRAs were added to."""
    layers: dict[str, int] = {}
    quantized: set[str] = set()
    for name, layer in model.named_modules():
        if any(name.startswith(f"{one}.") for one in layers):
            continue
        is_quantized = any(is_quantized_layer(part) for part in layer.modules()) if _is_layer(layer) else False
        if is_quantized or hasattr(layer, "base_layer"):
            layers[name] = sum(map(_stored_bytes, [*layer.parameters(), *layer.buffers()]))
        if is_quantized:
            quantized.add(name)
    is_own = any(isinstance(layer, QuantizedLayer) for layer in model.modules())
    return StoredWeights(layers, frozenset(quantized), is_own)


def read_stored(sources: ModelSources, components: Mapping[str, nn.Module]) -> dict[str, StoredWeights]:
    """component -> its stored weights, of a model's files on this machine. components: built without values."""
    found = {}
    for name, model in components.items():
        part = sources.parts.get(name)
        if part is not None and part.file is not None:
            stored = _read_file(part, sources, model)
        else:
            folder = _folder_of(sources, name, part)
            stored = None if folder is None else _read_folder(folder, model)
        if stored is not None:
            found[name] = stored
    return found


def _folder_of(sources: ModelSources, name: str, part: Part | None) -> Path | None:
    if part is None:
        return sources.base / name if isinstance(sources.base, Path) else None
    return part.source / part.subfolder if isinstance(part.source, Path) else None


def _read_folder(folder: Path, model: nn.Module) -> StoredWeights | None:
    if is_quantized(folder):
        own = read_formats(folder)
        sizes = _sum_by_layer(_sizes_of(folder / WEIGHTS_FILE), own)
        return StoredWeights(sizes, frozenset(own), is_own=True)
    config: Any = getattr(model, "config", {})
    stated = config.get("quantization_config") if isinstance(config, Mapping) else vars(config).get(
        "quantization_config"
    )  # fmt: skip
    if not stated:
        return None
    files = [path for path in folder.glob("*.safetensors") if not path.name.startswith("._")]
    tensors = {name: facts for path in files for name, facts in read_header(path).tensors.items()}
    names = {
        name.removesuffix(".weight") for name, facts in tensors.items()
        if name.endswith(".weight") and facts.dtype not in (*_PLAIN, "F64")
    }  # fmt: skip
    sizes = {name: facts.end - facts.begin for name, facts in tensors.items()}
    return StoredWeights(_sum_by_layer(sizes, names), frozenset(names))


def _read_file(part: Part, sources: ModelSources, model: nn.Module) -> StoredWeights | None:
    """Of a GGUF: other files are decoded when they are loaded."""
    if part.header.format != GGUF or not hasattr(model, "load_config"):
        return None
    tensors = outline_tensors(fit_file(part, type(model), sources))
    in_fp32 = fp32_modules(model)  # those are dequantized when they are loaded
    names = {
        name.rpartition(".")[0]
        for name, tensor in tensors.items()
        if tensor.dtype == torch.uint8 and not stays_in_fp32(name, in_fp32)
    }
    return StoredWeights(_sum_by_layer({name: one.nbytes for name, one in tensors.items()}, names), frozenset(names))


def _sizes_of(path: Path) -> dict[str, int]:
    return {name: facts.end - facts.begin for name, facts in read_header(path).tensors.items()}


def _sum_by_layer(sizes: Mapping[str, int], layers: Iterable[str]) -> dict[str, int]:
    """Bytes of the tensors of each layer: those whose names begin with its own."""
    found = dict.fromkeys(layers, 0)
    for name, size in sizes.items():
        parts = name.split(".")
        owner = next((own for end in range(len(parts), 0, -1) if (own := ".".join(parts[:end])) in found), None)
        if owner is not None:
            found[owner] += size
    return found


def _is_layer(part: nn.Module) -> bool:
    """Whether a module has a weight of its own, or is one with LoRAs around it."""
    return hasattr(part, "base_layer") or not list(part.children())


def _stored_bytes(tensor: torch.Tensor) -> int:
    """Of a tensor, also one of a library's subclass that consists of several."""
    if hasattr(tensor, "__tensor_flatten__") and type(tensor) not in (torch.Tensor, nn.Parameter):
        inner, _ = tensor.__tensor_flatten__()
        return sum(_stored_bytes(getattr(tensor, name)) for name in inner)
    return tensor.numel() * tensor.element_size()
