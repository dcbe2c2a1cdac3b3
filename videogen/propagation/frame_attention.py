"""Self-attention from some frames' queries to all frames' keys and values, most of them cached from earlier key steps.

The module's own code computes queries, keys and values; a torch function mode, active only while that module runs,
answers its call of `scaled_dot_product_attention`. Other modes are off for that answer, since sparse attention would
take a call with fewer queries than keys for cross-attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.overrides import TorchFunctionMode

from videogen.core.errors import UnsupportedError

from .frame_subset import FrameSelection, FrameSubsetLayer

#: Arguments of one call of `scaled_dot_product_attention` by name.
_AttentionCall: TypeAlias = dict[str, Any]

_SDPA = torch.nn.functional.scaled_dot_product_attention
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@dataclass
class FrameCache:
    """The cache of one block and branch: keys and values [b, heads, n, d] and residuals [b, n, c] from the last
    evaluation of each frame."""

    key: torch.Tensor | None = None
    value: torch.Tensor | None = None
    residual: torch.Tensor | None = None

    def fits(self, hidden: torch.Tensor) -> bool:
        """Whether it was filled from hidden states of this size."""
        r = self.residual
        return r is not None and (r.shape, r.dtype, r.device) == (hidden.shape, hidden.dtype, hidden.device)

    def bytes(self) -> int:
        tensors = [x for x in (self.key, self.value, self.residual) if x is not None]
        return sum(x.numel() * x.element_size() for x in tensors)


class FrameAttention(FrameSubsetLayer):
    """The self-attention of one block."""

    _mode: _FrameAttentionMode | None = None

    @contextmanager
    def attending(self, cache: FrameCache, tokens: torch.Tensor | None, count: int) -> Iterator[None]:
        """Within it, the queries of `tokens` (None: all) attend to `count` tokens. UnsupportedError if the module does
        not attend exactly once."""
        self._mode = mode = _FrameAttentionMode(self._module_name, cache, tokens, count)
        try:
            yield
        finally:
            self._mode = None
        if mode.calls != 1:
            raise UnsupportedError(
                f"{self._module_name} calls scaled_dot_product_attention {mode.calls} times, not once, so its keys "
                "cannot be cached; set_attention_backend('native') or use frames=1"
            )

    def run(self, selection: FrameSelection, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        if self._mode is None:
            return self.original(*args, **kwargs)
        with self._mode:
            return self.original(*args, **kwargs)


class _FrameAttentionMode(TorchFunctionMode):
    """Answers one module's attention, in one call of it."""

    def __init__(self, name: str, cache: FrameCache, tokens: torch.Tensor | None, count: int) -> None:
        super().__init__()
        self._name, self._cache, self._tokens, self._count, self.calls = name, cache, tokens, count, 0

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func is not _SDPA:
            return func(*args, **kwargs)
        self.calls += 1
        call = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
        self._check(call)
        if self._tokens is None:
            self._cache_all(call)
            return func(*args, **kwargs)
        self._cache_fresh(call)
        with torch._C.DisableTorchFunction():
            return func(**call)

    def _cache_all(self, call: _AttentionCall) -> None:
        self._cache.key, self._cache.value = call["key"].detach(), call["value"].detach()

    def _cache_fresh(self, call: _AttentionCall) -> None:
        """Replace the fresh frames' keys and values in the cache, and attend to the cached ones."""
        assert self._tokens is not None and self._cache.key is not None and self._cache.value is not None
        self._cache.key = self._cache.key.index_copy(2, self._tokens, call["key"].detach())
        self._cache.value = self._cache.value.index_copy(2, self._tokens, call["value"].detach())
        call["key"], call["value"] = self._cache.key, self._cache.value

    def _check(self, call: _AttentionCall) -> None:
        expected = self._count if self._tokens is None else len(self._tokens)
        query, key, mask = call["query"], call["key"], call.get("attn_mask")
        if query.ndim != 4 or not query.shape[2] == key.shape[2] == expected:
            raise UnsupportedError(
                f"{self._name} attends from {query.shape[-2]} to {key.shape[-2]} tokens, not among the video's "
                f"{expected}; use frames=1"
            )
        if call.get("is_causal") or (mask is not None and mask.shape[-1] not in (1, self._count)):
            how = "causally" if mask is None else f"under a mask {list(mask.shape)}"
            raise UnsupportedError(f"{self._name} attends {how}, which cannot be reduced to some frames; use frames=1")
