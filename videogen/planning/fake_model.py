"""Models without values: modules whose parameters are fake tensors, so that a call of them allocates nothing.

A fake tensor (torch's FakeTensorMode) has a shape, a dtype and a device, and operators give results with theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from videogen.backbones.precision.fp32_modules import fp32_modules, stays_in_fp32


def fake_mode() -> FakeTensorMode:
    """The mode of one count: models and inputs of a pass share it."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """New floating-point tensors have this dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def make_fake(model: nn.Module, mode: FakeTensorMode, dtype: torch.dtype) -> None:
    """Replace a model's parameters and buffers by fake ones on the CPU, in the dtype that they are loaded in."""
    in_fp32 = fp32_modules(model)
    made: dict[int, nn.Parameter] = {}  # tied weights stay one
    for path, module in model.named_modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                if id(parameter) not in made:
                    fake = _fake_like(parameter, mode, _loaded_dtype(parameter, f"{path}.{name}", in_fp32, dtype))
                    with mode:
                        made[id(parameter)] = nn.Parameter(fake, requires_grad=False)
                module._parameters[name] = made[id(parameter)]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                stored = name not in module._non_persistent_buffers_set  # others are computed again, in their own dtype
                loaded = _loaded_dtype(buffer, f"{path}.{name}", in_fp32, dtype) if stored else buffer.dtype
                module._buffers[name] = _fake_like(buffer, mode, loaded)


def _loaded_dtype(tensor: torch.Tensor, path: str, in_fp32: tuple[str, ...], dtype: torch.dtype) -> torch.dtype:
    if not tensor.is_floating_point():
        return tensor.dtype
    return torch.float32 if stays_in_fp32(path, in_fp32) else dtype


def _fake_like(tensor: torch.Tensor, mode: FakeTensorMode, dtype: torch.dtype) -> torch.Tensor:
    with mode:
        return torch.empty(tuple(tensor.shape), dtype=dtype, device="cpu")


def tensors_of(model: nn.Module) -> Iterator[Any]:
    yield from model.parameters()
    yield from model.buffers()
