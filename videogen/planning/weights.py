"""Weights of a component by precision, and how much of it is on the device under each placement."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import nn

from videogen.core.errors import unknown

#: bytes per weight, and per group of weights for the scale of a quantized one
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5 + 2 / 64}
_CASTABLE = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear,
)  # fmt: skip
_NOT_CAST = re.compile(r"pos_embed|patch_embed|norm|^proj_in$|^proj_out$")


def bytes_per_weight(precision: str) -> float:
    """Bytes that one weight takes. InputError for an unknown precision, with the known ones."""
    if precision not in _BYTES:
        raise unknown("precision", precision, list(_BYTES))
    return _BYTES[precision]


@dataclass(frozen=True)
class ComponentWeights:
    """Bytes of a component: all of it; the largest block and layer; what is in no block; and how much of it is cast
    where the storage is fp8 (cast: as stored, cast_to: the largest layer once it is cast)."""

    total: int
    largest_block: int
    outside_blocks: int
    largest_leaf: int


def measure_weights(module: nn.Module, *, fp8: bool = False) -> ComponentWeights:
    """Of a module whose parameters may have no values. fp8: its layers are stored as diffusers' layerwise casting does,
    all but norms and embeddings of positions and patches; one layer at a time is cast back."""
    leaves = [(name, leaf) for name, leaf in module.named_modules() if not list(leaf.children())]
    sizes = {id(leaf): _size(name, leaf, fp8) for name, leaf in leaves}
    own = {id(part): sum(_bytes(weight) for weight in part.parameters(recurse=False)) for part in module.modules()}
    total_of = {id(part): _sum(part, sizes, own) for part in (module, *_blocks(module))}
    blocks = [total_of[id(block)] for block in _blocks(module)]
    cast = max((_bytes_of(leaf) for name, leaf in leaves if fp8 and _is_cast(name, leaf)), default=0)
    total = total_of[id(module)]
    return ComponentWeights(
        total + cast, max(blocks, default=total) + cast, total - sum(blocks), max(sizes.values(), default=0) + cast
    )


def _blocks(module: nn.Module) -> list[nn.Module]:
    """What diffusers offloads as a group: the entries of lists that the module has itself."""
    return [
        block
        for child in module.children()
        if isinstance(child, nn.ModuleList | nn.Sequential)
        for block in child
    ]  # fmt: skip


def _sum(module: nn.Module, sizes: dict[int, int], own: dict[int, int]) -> int:
    return sum(sizes.get(id(part), own.get(id(part), 0)) for part in module.modules())


def _size(name: str, leaf: nn.Module, fp8: bool) -> int:
    if not (fp8 and _is_cast(name, leaf)):
        return _bytes_of(leaf)
    return int(sum(weight.numel() for weight in leaf.parameters()) * bytes_per_weight("fp8"))


def _is_cast(name: str, leaf: nn.Module) -> bool:
    return isinstance(leaf, _CASTABLE) and _NOT_CAST.search(name) is None


def _bytes_of(leaf: nn.Module) -> int:
    return sum(_bytes(weight) for weight in leaf.parameters())


def _bytes(weight: torch.Tensor) -> int:
    return weight.numel() * weight.element_size()
