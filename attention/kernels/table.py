"""Table of block-sparse kernels: which one can take which call, and why another cannot.

A kernel is a row here and a file next to it, which has the kernel and a function `refuses(case)`. `auto` takes the
first row that can take a call with all its arguments; a kernel that cannot is never chosen, and `reasons` gives the
reason. Reading the table loads no torch, so that configurations can check names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videogen.core.errors import InputError, UnsupportedError
from videogen.core.lazy import load_object

if TYPE_CHECKING:
    import torch

    from videogen.attention.blockmap import BlockMap

#: The backend that stands for the first kernel that can take a call.
AUTO = "auto"


@dataclass(frozen=True)
class Case:
    """What a call needs of a kernel. device: its type, such as `cuda`; blocks in tokens; key_mask: whether there is
    one."""

    device: str
    dtype: torch.dtype
    head_dim: int
    value_dim: int
    query_block: int
    key_block: int
    key_mask: bool

    @classmethod
    def from_tensors(
        cls, query: torch.Tensor, value: torch.Tensor, block_map: BlockMap, key_mask: torch.Tensor | None
    ) -> Case:
        return cls(
            query.device.type, query.dtype, query.shape[-1], value.shape[-1], block_map.query_block,
            block_map.key_block, key_mask is not None,
        )  # fmt: skip


@dataclass(frozen=True)
class Kernel:
    """A kernel. home: `module:function` of this package, or `package.module:function`.

    The function is `(query, key, value, block_map, *, scale, key_mask) -> (out [b, h, l, d], lse fp32 [b, h, l])`. The
    file is importable everywhere, whatever package the kernel itself needs.
    """

    name: str
    home: str

    def load(self) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
        """The kernel's function."""
        return load_object(self.home, __package__)  # type: ignore[no-any-return]

    def refuses(self, case: Case) -> str | None:
        """Why the kernel cannot take a call; None where it can."""
        return load_object(f"{self.home.partition(':')[0]}:refuses", __package__)(case)  # type: ignore[no-any-return]


KERNELS = (
    Kernel("triton", "triton_support:triton_attention"),
    Kernel("flex", "flex_blocks:flex_attention"),
    Kernel("torch", "gather:gather_attention"),
)


def backend_names() -> tuple[str, ...]:
    """The values of a `backend` option: `auto` and the kernels' names."""
    return AUTO, *(kernel.name for kernel in KERNELS)


def choose(case: Case, backend: str = AUTO) -> Kernel:
    """The kernel for a call. InputError for an unknown name, UnsupportedError with the reason where a named one
    cannot."""
    if backend == AUTO:
        return next(kernel for kernel in KERNELS if kernel.refuses(case) is None)
    kernel = next((kernel for kernel in KERNELS if kernel.name == backend), None)
    if kernel is None:
        raise InputError(f"attention backend {backend!r} is unknown; use {', '.join(backend_names())}")
    if reason := kernel.refuses(case):
        raise UnsupportedError(f"attention backend {backend!r} cannot take this call: {reason}; use 'auto'")
    return kernel


def reasons(case: Case) -> dict[str, str | None]:
    """For each kernel, why it cannot take the call; None where it can."""
    return {kernel.name: kernel.refuses(case) for kernel in KERNELS}
