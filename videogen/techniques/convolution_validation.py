"""Validation of a decoder's convolutions: sampled positions of the result against products in fp32.

The fast kernels for convolutions differ by shape, dtype and memory layout just as those for attention do. The first
call of each is compared at a few positions, which are computed from the same inputs as plain products of matrices.

Legend: b batch, c channels in, o channels out, n sampled positions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from videogen.attention.kernels.validation import Fault
from videogen.attention.kernels.watch import KernelWatch

_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_KERNELS: dict[Any, str] = {F.conv1d: "conv1d", F.conv2d: "conv2d", F.conv3d: "conv3d"}
_POSITIONS = 6
_MOST_CHECKED = 12  # shapes per model: later ones repeat the same kernels at other sizes


def watch_convolutions(watch: KernelWatch) -> AbstractContextManager[object]:
    """Compare the first convolutions of a model in this block. Nothing where all that are to be compared were right."""
    found = [verdict for key, verdict in watch.verdicts.items() if key[0] in _KERNELS.values()]
    enough = len(found) >= _MOST_CHECKED and not any(verdict.why for verdict in found)
    return nullcontext() if enough else ConvolutionMode(watch, _MOST_CHECKED - len(found))


class ConvolutionMode(TorchFunctionMode):
    """Compares convolutions with their reference, at most so many shapes of them, under a watch."""

    def __init__(self, watch: KernelWatch, most: int) -> None:
        super().__init__()
        self._watch, self._left = watch, most

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kernel = _KERNELS.get(func)
        if kernel is None:
            return func(*args, **kwargs)
        given: dict[str, Any] = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        given |= {**dict(zip(_NAMES, args, strict=False)), **kwargs}
        if not _is_comparable(given):
            return func(*args, **kwargs)
        key = _key(kernel, given)
        if key not in self._watch.verdicts:
            if not self._left:
                return func(*args, **kwargs)
            self._left -= 1
        return self._watch.run_checked(
            key,
            kernel,
            _describe(given),
            lambda: func(*args, **kwargs),
            lambda out: find_convolution_fault(out, **given),
            _alternatives(func, given),
            counts=Counter(),  # of attention alone
        )


def find_convolution_fault(
    out: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Fault | None:
    """What is wrong with a convolution's result [b, o, ...]; None where nothing is. Other arguments as of the call, of
    which padding is a number or a tuple of them."""
    axes = weight.ndim - 2
    stride, padding, dilation = (_per_axis(x, axes) for x in (stride, padding, dilation))
    kernel = weight.shape[2:]
    sizes = out.shape[2:]
    matrix = weight.float().flatten(1)  # [o, c / groups * taps]
    worst, where = 0.0, ""
    unit = _unit(out)
    for b, place in product(_samples(out.shape[0]), _positions(sizes)):
        window = _window(input[b], place, kernel, stride, padding, dilation).float()  # [c, taps]
        grouped = window.unflatten(0, (groups, -1)).flatten(1)  # [groups, c / groups * taps]
        rows = matrix.unflatten(0, (groups, -1))  # [groups, o / groups, ...]
        expected = torch.einsum("gok,gk->go", rows, grouped).flatten()
        spread = torch.einsum("gok,gk->go", rows.square(), grouped.square()).flatten().sqrt()
        if bias is not None:
            expected = expected + bias.float()
        allowed = 3 * unit * (expected.norm() + spread.norm()) + torch.finfo(out.dtype).tiny ** 0.5 * unit
        error = (_at(out[b], place).float() - expected).norm()
        if not bool(expected.isfinite().all()):
            continue
        excess = float(error / allowed)
        if not excess <= worst:
            worst, where = excess if excess == excess else torch.inf, f"batch {b}, position {list(place)}"
    if not worst > 1:
        return None
    text = "NaN or Inf" if worst == torch.inf else f"{worst:.3g} times the error that {out.dtype} may have,"
    return Fault(f"{text} at {where}", worst)


def _samples(batch: int) -> list[int]:
    """The first and the last of a batch: kernels differ by where they begin and end."""
    return sorted({0, batch - 1})


def _positions(sizes: torch.Size) -> list[tuple[int, ...]]:
    """Corners and random inner positions."""
    generator = torch.Generator().manual_seed(len(sizes))
    drawn = [tuple(int(torch.randint(size, (), generator=generator)) for size in sizes) for _ in range(_POSITIONS - 2)]
    return [tuple(0 for _ in sizes), tuple(size - 1 for size in sizes), *drawn]


def _window(
    x: torch.Tensor, place: tuple[int, ...], kernel: torch.Size, stride: Any, padding: Any, dilation: Any
) -> torch.Tensor:
    """The inputs of one output position, zeros beyond the border, [c, taps]."""
    for axis, (at, taps, step, pad, gap) in enumerate(zip(place, kernel, stride, padding, dilation, strict=True), 1):
        index = torch.arange(taps) * gap + at * step - pad
        inside = (index >= 0) & (index < x.shape[axis])
        x = x.index_select(axis, index.clamp(0, x.shape[axis] - 1).to(x.device))
        shape = [1] * x.ndim
        shape[axis] = taps
        x = torch.where(inside.view(shape).to(x.device), x, torch.zeros_like(x))
    return x.flatten(1)


def _at(x: torch.Tensor, place: tuple[int, ...]) -> torch.Tensor:
    """One position of [o, ...]."""
    for index in reversed(place):
        x = x.select(-1, index)
    return x


def _unit(out: torch.Tensor) -> float:
    if out.dtype != torch.float32:
        return torch.finfo(out.dtype).eps / 2
    tf32 = out.device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return 2.0**-11 if tf32 else 8 * torch.finfo(torch.float32).eps


def _alternatives(func: Any, given: dict[str, Any]) -> list[tuple[str, Callable[[], torch.Tensor]]]:
    """The same convolution without the vendor's library, and in fp32."""

    def plain() -> torch.Tensor:
        with _without_library(given["input"]):
            return func(**given)  # type: ignore[no-any-return]

    def wide() -> torch.Tensor:
        x, weight, bias = (given[name] for name in ("input", "weight", "bias"))
        other = {**given, "input": x.float(), "weight": weight.float(), "bias": None if bias is None else bias.float()}
        with _without_library(x):
            return func(**other).to(x.dtype)  # type: ignore[no-any-return]

    return [("conv-plain", plain), ("conv-fp32", wide)]


def _without_library(x: torch.Tensor) -> AbstractContextManager[object]:
    library: Any = torch.backends.cudnn if x.device.type == "cuda" else torch.backends.mkldnn
    return library.flags(enabled=False)  # type: ignore[no-any-return]


def _is_comparable(given: dict[str, Any]) -> bool:
    x, weight = given["input"], given["weight"]
    plain = all(type(tensor) in (torch.Tensor, torch.nn.Parameter) for tensor in (x, weight))
    return plain and x.ndim == weight.ndim and x.is_floating_point() and not isinstance(given["padding"], str)


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values * axes if len(values) == 1 else values


def _key(kernel: str, given: dict[str, Any]) -> tuple[object, ...]:
    x, weight = given["input"], given["weight"]
    layout = (x.stride(), x.dtype, str(x.device))
    options = tuple(str(given[name]) for name in ("stride", "padding", "dilation", "groups"))
    return (kernel, tuple(x.shape), tuple(weight.shape), layout, options)


def _describe(given: dict[str, Any]) -> str:
    x = given["input"]
    return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)} and a filter {list(given['weight'].shape)}"
