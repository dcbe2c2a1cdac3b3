"""The capability table: which block-sparse kernel can take which call, and why another cannot.

A kernel is a row here and a file beside it. `auto` takes the first row that can honour every argument; a kernel that
cannot is never chosen, and `reasons` says why.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from videogen.attention.blockmap import BlockMap
from videogen.core.errors import InputError, UnsupportedError


@dataclass(frozen=True)
class Case:
    """What a call asks for."""

    device: str
    dtype: torch.dtype
    head_dim: int
    value_dim: int
    query_block: int
    key_block: int
    key_mask: bool

    @classmethod
    def of(cls, query: torch.Tensor, value: torch.Tensor, block_map: BlockMap, key_mask: torch.Tensor | None) -> Case:
        return cls(
            query.device.type, query.dtype, query.shape[-1], value.shape[-1], block_map.query_block, block_map.key_block,
            key_mask is not None,
        )  # fmt: skip


@dataclass(frozen=True)
class Kernel:
    """A row: `load()` is `file:function` of this folder; `refuses(case)` is None where it can, else the reason."""

    name: str
    file: str
    function: str
    refuses: Callable[[Case], str | None]

    def load(self) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
        module = importlib.import_module(f"videogen.attention.kernels.{self.file}")
        return getattr(module, self.function)  # type: ignore[no-any-return]


def choose(case: Case, backend: str = "auto") -> Kernel:
    """The kernel for a call. InputError for an unknown name, UnsupportedError with the reason where a named one
    cannot."""
    names = [kernel.name for kernel in KERNELS]
    if backend == "auto":
        return next(kernel for kernel in KERNELS if kernel.refuses(case) is None)
    if backend not in names:
        raise InputError(f"attention backend {backend!r} is unknown; use auto, {', '.join(names)}")
    kernel = KERNELS[names.index(backend)]
    if reason := kernel.refuses(case):
        raise UnsupportedError(f"attention backend {backend!r} cannot take this call: {reason}; use 'auto'")
    return kernel


def reasons(case: Case) -> dict[str, str | None]:
    """For each kernel, why it cannot take the call; None where it can."""
    return {kernel.name: kernel.refuses(case) for kernel in KERNELS}


def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _triton(case: Case) -> str | None:
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if not has_triton():
        return "triton is not installed"
    if case.device != "cuda" and not interpreted:
        return f"it needs CUDA, the tensors are on {case.device}"
    if case.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"{case.dtype} is not float16, bfloat16 or float32"
    if interpreted and case.dtype == torch.bfloat16:
        return "Triton's interpreter has no bfloat16 product"
    if max(case.head_dim, case.value_dim) > 256 or case.head_dim != case.value_dim:
        return f"head dims {case.head_dim} and {case.value_dim} must be equal and at most 256"
    return None if min(case.query_block, case.key_block) >= 16 else "blocks must be at least 16 tokens"


def _flex(case: Case) -> str | None:
    if case.device != "cuda":
        return "on a CPU FlexAttention gives no log-sum-exp"
    if case.dtype == torch.float64:
        return "float64 is not supported"
    return None if min(case.query_block, case.key_block) >= 64 else "FlexAttention wants blocks of at least 64 tokens"


def _torch(case: Case) -> str | None:
    return None


KERNELS = (
    Kernel("triton", "triton_blocks", "triton_attention", _triton),
    Kernel("flex", "flex_blocks", "flex_attention", _flex),
    Kernel("torch", "gather", "gather_attention", _torch),
)
