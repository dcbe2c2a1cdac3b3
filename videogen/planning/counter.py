"""Counter of live storage, floating-point operations and operator calls of a forward pass.

On fake tensors (shapes without values) it counts a pass that is never computed; on real ones it counts what an
allocator would hand out. The peak of either is the same, since the same operators allocate the same storages.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from .known_values import KnownValues


@dataclass(frozen=True)
class TensorShape:
    """A tensor argument without its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Of its storage, were it alone on it: an expanded dimension takes none."""
        span = sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))
        return (span + 1) * self.dtype.itemsize if 0 not in self.shape else 0


@dataclass(frozen=True)
class OperatorCall:
    """One operator with its arguments, by shape: calls that are equal take the same time.

    arguments: positional and keyword arguments, `TensorShape` in place of tensors, frozen; moved: bytes read and
    written; flops: floating-point operations of a matrix product, a convolution or attention, otherwise 0.
    """

    operator: Any
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]
    moved: int
    flops: int


class LiveStorageCounter(TorchDispatchMode):
    """Context that counts the operators run within it, in this thread.

    live: bytes of the storages that were made within and still exist; peak: the most there ever were; calls: how often
    each operator call was made; flops: of all of them; values: of tensors without any, as far as they are known.
    with_calls: whether `calls` is filled, which takes time.
    """

    def __init__(self, *, with_calls: bool = False) -> None:
        super().__init__()
        self.live = self.peak = self.flops = 0
        self.calls: Counter[OperatorCall] = Counter()
        self.values = KnownValues()
        self._with_calls = with_calls
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def ignore(self, tensors: Iterable[torch.Tensor]) -> None:
        """Leave out storages that were there before, such as weights, of which operators return views."""
        for tensor in tensors:
            self._known[tensor.untyped_storage()] = 0

    def repeat(self, call: CountedCall) -> None:
        """Count a call again that was counted before, without making it."""
        self.peak = max(self.peak, self.live + call.above)
        self.flops += call.flops
        self.calls.update(call.calls)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        packet = func._overloadpacket
        if packet not in _FLOPS and func.namespace == "aten":
            with self:  # inference mode gives composite operators undivided: what is allocated within counts too
                parts = func.decompose(*args, **given)
            if parts is not NotImplemented:
                return parts
        result = self._run(func, args, given)
        flops = int(_FLOPS[packet](*args, **given, out_val=result)) if packet in _FLOPS else 0
        self.flops += flops
        made = sum(self._add(tensor) for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor))
        if self._with_calls and (made or _writes(func)):
            self.calls[_describe(func, args, given, result, flops)] += 1
        return result

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What an operator returns; of one that looks at values, where there are none, what they answer or assume."""
        given_values = not any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs)))
        assume = None if given_values else _ANSWERS.get(func)
        if assume is None or not _looks_at_values(func, args):
            result = func(*args, **kwargs)
            if any(isinstance(leaf, FakeTensor) for leaf in tree_leaves(result)):
                self.values.follow(func, args, kwargs, result)
            return result
        values = self.values.compute(func, args, kwargs)
        if values is None:
            return assume(self.values, *args)
        if not isinstance(values, torch.Tensor):
            return values
        result = torch.empty(values.shape, dtype=values.dtype)
        self.values.set(result, values)
        return result

    def _add(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor is on a storage that is new; its bytes are then live until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return False
        size = storage.nbytes()
        self._known[storage] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, size).atexit = False
        return True

    def _free(self, size: int) -> None:
        self.live -= size


@dataclass(frozen=True)
class CountedCall:
    """What one call of a module took. above: its peak above what was live before it."""

    above: int
    flops: int
    calls: Counter[OperatorCall]


def measure_call(counter: LiveStorageCounter, call: Callable[[], Any]) -> tuple[Any, CountedCall]:
    """(result, what the call took), counted within a counter that is entered."""
    before, flops, calls = counter.live, counter.flops, counter.calls.copy()
    outer, counter.peak = counter.peak, counter.live
    try:
        result = call()
    finally:
        above = counter.peak - before
        counter.peak = max(outer, counter.peak)
    return result, CountedCall(above, counter.flops - flops, counter.calls - calls)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


#: operator -> its floating-point operations: torch's own, and the attention of CPUs, which they lack
_FLOPS = {**flop_registry, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def _every_place(values: KnownValues, mask: torch.Tensor) -> torch.Tensor:
    """Indices of what is not zero, where that is not known: of everything, which takes the most."""
    return torch.empty(mask.numel(), mask.ndim, dtype=torch.int64, device=mask.device)


def _at_masks(values: KnownValues, tensor: torch.Tensor, indices: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """A tensor indexed by masks: as often as they are true, or everywhere where that is not known."""
    places: list[torch.Tensor | None] = []
    for index in indices:
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            places.append(index)
            continue
        count = values.count_true(index)
        found = _every_place(values, index)
        places.extend((found if count is None else found[:count]).unbind(1))
    result: torch.Tensor = torch.ops.aten.index.Tensor(tensor, places)
    return result


def _any_value(values: KnownValues, tensor: torch.Tensor) -> bool | int | float:
    return tensor.dtype.is_floating_point * 1.0 if tensor.dtype is not torch.bool else True


#: what is assumed of values that a fake tensor does not have
_ANSWERS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.nonzero.default: _every_place,
    torch.ops.aten.index.Tensor: _at_masks,
    torch.ops.aten._local_scalar_dense.default: _any_value,
}


def _looks_at_values(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the shape of what an operator returns depends on values: indexing does so for masks alone."""
    if func is not torch.ops.aten.index.Tensor:
        return True
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])


def _writes(func: Any) -> bool:
    """Whether an operator writes into one of its arguments."""
    return bool(func._schema.is_mutable)


def _describe(func: Any, args: Any, kwargs: dict[str, Any], result: Any, flops: int) -> OperatorCall:
    tensors = [tensor for tensor in tree_leaves((args, kwargs, result)) if isinstance(tensor, torch.Tensor)]
    moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    arguments, keywords = tree_map_only(torch.Tensor, _shape_of, (args, kwargs))
    return OperatorCall(
        func, _frozen(arguments), tuple((name, _frozen(value)) for name, value in keywords.items()), moved, flops
    )


def _shape_of(tensor: torch.Tensor) -> TensorShape:
    return TensorShape(tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
