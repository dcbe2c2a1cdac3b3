"""Calls of modules that repeat one counted before: blocks of a transformer, frames and tiles of a VAE.

A module's call depends, as far as shapes go, on the shapes that it is given and on those of its parameters. The first
such call is counted; each later one adds the same figures and returns new tensors of the same shapes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from .counter import CountedCall, LiveStorageCounter, measure_call

_LEAST = 3  # blocks of a list that are worth it


@dataclass(frozen=True)
class _Known:
    """result: with an index in place of a tensor that is one of the call's own, a template in place of a new one."""

    result: Any
    counted: CountedCall


@dataclass(frozen=True)
class _Own:
    index: int


@contextmanager
def count_repeats_once(counter: LiveStorageCounter, *modules: nn.Module) -> Iterator[None]:
    """Context in which calls of these modules, and of the repeated blocks within them, are counted once per shape."""
    known: dict[Any, _Known] = {}
    with ExitStack() as stack:
        for module in modules:
            for block in _decoders(module) or _repeated_blocks(module):
                if "forward" not in vars(block):
                    vars(block)["forward"] = _once(block, block.forward, counter, known)
                    stack.callback(vars(block).pop, "forward", None)
        yield


def _repeated_blocks(module: nn.Module) -> list[nn.Module]:
    lists = [child for child in module.modules() if isinstance(child, nn.ModuleList) and len(child) >= _LEAST]
    return [block for child in lists if len({type(block) for block in child}) == 1 for block in child]


def _decoders(module: nn.Module) -> list[nn.Module]:
    """The part of a VAE that is called once per tile, or once per group of frames. Blocks within it may store frames
    between two calls, so they are not repeated."""
    decoder = getattr(module, "decoder", None)
    return [decoder] if isinstance(decoder, nn.Module) and hasattr(module, "decode") else []


def _once(
    block: nn.Module, forward: Callable[..., Any], counter: LiveStorageCounter, known: dict[Any, _Known]
) -> Callable[..., Any]:
    weights = tuple((tuple(weight.shape), weight.dtype) for weight in block.parameters())
    kind = (type(block), repr(block), weights)  # convolutions of one shape may have other strides

    def call(*args: Any, **kwargs: Any) -> Any:
        shapes = _shapes((args, kwargs))
        key = (kind, shapes)
        own = [weakref.ref(tensor) for tensor in _tensors((args, kwargs))]  # a call may replace what it is given
        found = known.get(key)
        if found is not None:
            counter.repeat(found.counted)
            return tree_map(lambda leaf: _made(leaf, own), found.result)
        result, counted = measure_call(counter, lambda: forward(*args, **kwargs))
        if _shapes((args, kwargs)) == shapes:  # else its caches have grown: the next call differs
            known[key] = _Known(tree_map(lambda leaf: _template(leaf, own), result), counted)
        return result

    return call


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _shapes(value: Any) -> tuple[Any, ...]:
    return tuple(
        (tuple(leaf.shape), leaf.dtype, tuple(leaf.stride())) if isinstance(leaf, torch.Tensor) else repr(leaf)
        for leaf in tree_leaves(value)
    )


def _template(leaf: Any, own: list[weakref.ref[torch.Tensor]]) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    index = next((i for i, tensor in enumerate(own) if tensor() is leaf), None)
    return _Own(index) if index is not None else (_Shape(tuple(leaf.shape), tuple(leaf.stride()), leaf.dtype))


@dataclass(frozen=True)
class _Shape:
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


def _made(leaf: Any, own: list[weakref.ref[torch.Tensor]]) -> Any:
    if isinstance(leaf, _Own):
        return own[leaf.index]()
    return torch.empty_strided(leaf.shape, leaf.stride, dtype=leaf.dtype) if isinstance(leaf, _Shape) else leaf
