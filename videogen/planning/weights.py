"""Weights of a component by precision, and how much of it is on the device under each placement."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from videogen.backbones.precision.encoding import decoding_bytes
from videogen.backbones.precision.selection import find_quantizable
from videogen.backbones.precision.table import PRECISIONS, Precision, parse_precision
from videogen.backbones.precision.weight_format import WeightFormat

from .stored_weights import StoredWeights

FP8_STORAGE = PRECISIONS["fp8-storage"]
_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0}
#: of a library's 4-bit weight: its code, and a scale per 64
_FOUR_BITS, _EIGHT_BITS = 0.5 + 2 / 64, 1.0
_CASTABLE = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear,
)  # fmt: skip
_NOT_CAST = re.compile(r"pos_embed|patch_embed|norm|^proj_in$|^proj_out$")  # as diffusers' layerwise casting
#: bytes per weight that a library takes while it decodes a layer, above the result: a GGUF's values in fp32
_LIBRARY_DECODING = 4
_PLAIN = StoredWeights()
_SAMPLE = 4096  # rows and columns of a weight, to state the bytes per weight of a format


def bytes_per_weight(precision: str) -> float:
    """Bytes that one weight of a large layer takes, with its part of scales and of a low-rank branch. InputError for
    an unknown precision, with the known ones."""
    row = next(iter(parse_precision(precision).values()))
    if isinstance(row, WeightFormat):
        return row.count_bytes(_SAMPLE, _SAMPLE) / _SAMPLE**2
    return _BYTES.get(row.name) or (_FOUR_BITS if "4" in row.name else _EIGHT_BITS)


@dataclass(frozen=True)
class ComponentWeights:
    """Bytes of a component on the device: all of it; its largest block; what is in no block; its largest layer. Each
    includes what decoding a layer to the dtype of the run takes, where weights are stored in another form."""

    total: int
    largest_block: int
    outside_blocks: int
    largest_leaf: int


def measure_weights(
    module: nn.Module, precision: Precision | WeightFormat | None = None, stored: StoredWeights = _PLAIN
) -> ComponentWeights:
    """Of a module whose parameters may have no values. precision: of its layers; None: as they are; stored: of layers
    that are in another form already."""
    found = {id(layer): stored.layers[name] for name, layer in module.named_modules() if name in stored.layers}
    leaves = [leaf for leaf in module.modules() if not list(leaf.children())]
    own = _own_bytes(module) | _stored_bytes(module, precision) | found
    decoding = max((_decoding_bytes(module, precision), _stored_decoding_bytes(module, stored)))
    blocks = [_sum(block, own) for block in _blocks(module)]
    total, largest = _sum(module, own), max((own[id(leaf)] for leaf in leaves), default=0)
    return ComponentWeights(
        total + decoding, max(blocks, default=total) + decoding, total - sum(blocks), largest + decoding
    )  # fmt: skip


def _decoding_bytes(module: nn.Module, precision: Precision | WeightFormat | None) -> int:
    """What the layer that takes most is decoded to, and takes meanwhile, of those that a precision changes."""
    changed = _stored_bytes(module, precision)
    layers = [layer for layer in module.modules() if id(layer) in changed]
    if isinstance(precision, WeightFormat):
        return max(map(_own_decoding_bytes, layers), default=0)
    return max(map(_bytes_of, layers), default=0)


def _stored_decoding_bytes(module: nn.Module, stored: StoredWeights) -> int:
    layers = [layer for name, layer in module.named_modules() if name in stored.quantized]
    if stored.is_own:
        return max(map(_own_decoding_bytes, layers), default=0)
    return max((_bytes_of(layer) + _LIBRARY_DECODING * _count(layer) for layer in layers), default=0)


def _own_decoding_bytes(layer: nn.Module) -> int:
    weight: Any = layer.weight
    return decoding_bytes(len(weight), weight.numel() // len(weight), weight.element_size())


def _stored_bytes(module: nn.Module, precision: Precision | WeightFormat | None) -> dict[int, int]:
    """id of a layer -> bytes that it is stored in, of those that a precision changes."""
    if precision is None:
        return {}
    if isinstance(precision, WeightFormat):
        return {id(layer): _format_bytes(layer, precision) for layer in find_quantizable(module).values()}
    if precision is FP8_STORAGE:
        layers = [layer for name, layer in module.named_modules() if _is_cast(name, layer)]
    else:
        layers = list(find_quantizable(module).values())
    each = bytes_per_weight(precision.name)
    return {id(layer): int(sum(weight.numel() for weight in layer.parameters()) * each) for layer in layers}


def _format_bytes(layer: nn.Module, precision: WeightFormat) -> int:
    weight, bias = layer.weight, getattr(layer, "bias", None)
    assert isinstance(weight, torch.Tensor)
    rows = weight.shape[0]
    return precision.count_bytes(rows, weight.numel() // rows) + (0 if bias is None else _bytes(bias))


def _blocks(module: nn.Module) -> list[nn.Module]:
    """What diffusers offloads as a group: the entries of lists that the module has itself."""
    lists = (child for child in module.children() if isinstance(child, nn.ModuleList | nn.Sequential))
    return [block for child in lists for block in child]


def _sum(module: nn.Module, own: dict[int, int]) -> int:
    return sum(own[id(part)] for part in module.modules())


def _own_bytes(module: nn.Module) -> dict[int, int]:
    """id of each module within -> bytes of its own weights; weights that several share are the first one's."""
    counted: set[int] = set()
    found = {}
    for part in module.modules():
        fresh = [weight for weight in part.parameters(recurse=False) if id(weight) not in counted]
        counted.update(map(id, fresh))
        found[id(part)] = sum(map(_bytes, fresh))
    return found


def _is_cast(name: str, layer: nn.Module) -> bool:
    return isinstance(layer, _CASTABLE) and _NOT_CAST.search(name) is None


def _bytes_of(part: nn.Module) -> int:
    return sum(_bytes(weight) for weight in part.parameters(recurse=False))


def _bytes(weight: torch.Tensor) -> int:
    return weight.numel() * weight.element_size()


def _count(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters(recurse=False))
