"""Self-attention of some frames' queries over all frames' keys and values, most of them kept from before.

The module's own code makes queries, keys and values; a torch function mode, on only while that module runs, answers its
call of `scaled_dot_product_attention`. Other modes do not see the answer: what makes attention sparse takes a call with
fewer queries than keys for cross-attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from videogen.core.errors import UnsupportedError

from .lattice import Asked, LayerStub

_SDPA = torch.nn.functional.scaled_dot_product_attention
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@dataclass
class Kept:
    """Of one block and branch: keys and values [b, heads, n, d] and residuals [b, n, c] of each frame's last
    evaluation."""

    key: torch.Tensor | None = None
    value: torch.Tensor | None = None
    residual: torch.Tensor | None = None

    def fits(self, hidden: torch.Tensor) -> bool:
        """Whether it was made of hidden states of this size."""
        r = self.residual
        return r is not None and (r.shape, r.dtype, r.device) == (hidden.shape, hidden.dtype, hidden.device)

    def bytes(self) -> int:
        tensors = [x for x in (self.key, self.value, self.residual) if x is not None]
        return sum(x.numel() * x.element_size() for x in tensors)


class SelfAttention(LayerStub):
    """The self-attention of one block."""

    _watch: _Watch | None = None

    @contextmanager
    def attending(self, kept: Kept, tokens: torch.Tensor | None, count: int) -> Iterator[None]:
        """Within it, the module attends to `count` tokens with the queries of `tokens` (None: all). Raises
        UnsupportedError."""
        self._watch = watch = _Watch(self._module_name, kept, tokens, count)
        try:
            yield
        finally:
            self._watch = None
        if watch.calls != 1:
            raise UnsupportedError(
                f"{self._module_name} calls scaled_dot_product_attention {watch.calls} times, not once, so its keys cannot be kept; "
                "set_attention_backend('native') or use frames=1"
            )

    def run(self, asked: Asked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._watch is None:
            return self._replaced.original(*args, **kwargs)
        with self._watch:
            return self._replaced.original(*args, **kwargs)


class _Watch(TorchFunctionMode):
    """Answers one module's attention, in one call of it."""

    def __init__(self, name: str, kept: Kept, tokens: torch.Tensor | None, count: int) -> None:
        super().__init__()
        self._name, self._kept, self._tokens, self._count, self.calls = name, kept, tokens, count, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not _SDPA:
            return func(*args, **kwargs)
        self.calls += 1
        call = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
        self._check(call)
        if self._tokens is None:
            self._kept.key, self._kept.value = call["key"].detach(), call["value"].detach()
            return func(*args, **kwargs)
        self._put(call)
        with torch._C.DisableTorchFunction():
            return func(**call)

    def _put(self, call: dict[str, Any]) -> None:
        """The fresh keys and values into the kept ones, which are attended to."""
        assert self._tokens is not None and self._kept.key is not None and self._kept.value is not None
        self._kept.key = self._kept.key.index_copy(2, self._tokens, call["key"].detach())
        self._kept.value = self._kept.value.index_copy(2, self._tokens, call["value"].detach())
        call["key"], call["value"] = self._kept.key, self._kept.value

    def _check(self, call: dict[str, Any]) -> None:
        expected = self._count if self._tokens is None else len(self._tokens)
        query, key, mask = call["query"], call["key"], call.get("attn_mask")
        if query.ndim != 4 or not query.shape[2] == key.shape[2] == expected:
            raise UnsupportedError(
                f"{self._name} attends from {query.shape[-2]} to {key.shape[-2]} tokens, not among the video's {expected}; use frames=1"
            )
        if call.get("is_causal") or (mask is not None and mask.shape[-1] not in (1, self._count)):
            what = "causally" if mask is None else f"under a mask {list(mask.shape)}"
            raise UnsupportedError(f"{self._name} attends {what}, which cannot be cut to some frames; use frames=1")
