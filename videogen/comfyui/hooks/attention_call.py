"""One call of ComfyUI's attention: its arguments as tensors [b, h, l, d], whichever form they came in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class AttentionCall:
    """Arguments of ComfyUI's attention. query, key, value: [b, h, l, d], views of what was given; mask: [b, h, q, k] or
    broadcast to it; as_heads: whether the result is expected as heads, too."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    scale: float | None
    as_heads: bool

    @classmethod
    def read(cls, q: Any, k: Any, v: Any, heads: int, mask: Any = None, *args: Any, **kwargs: Any) -> AttentionCall:
        """args: attn_precision, skip_reshape, skip_output_reshape, as ComfyUI's kernels have them."""
        split = bool(kwargs.get("skip_reshape", args[1] if len(args) > 1 else False))
        as_heads = bool(kwargs.get("skip_output_reshape", args[2] if len(args) > 2 else False))
        query, key, value = (x if split else split_heads(x, heads, q.shape[-1] // heads) for x in (q, k, v))
        return cls(query, key, value, _expand(mask), kwargs.get("scale"), as_heads)

    def result_as_heads(self, out: torch.Tensor) -> torch.Tensor:
        """A result of the call as [b, h, l, d]."""
        return out if self.as_heads else out.unflatten(-1, (self.query.shape[1], -1)).transpose(1, 2)

    def result_as_given(self, out: torch.Tensor) -> torch.Tensor:
        """A result [b, h, l, d] in the form that the caller expects."""
        return out if self.as_heads else out.transpose(1, 2).flatten(2)


def split_heads(x: torch.Tensor, heads: int, size: int) -> torch.Tensor:
    """[b, h, l, d] of [b, l, h * d]. size: d, by which keys may have fewer heads."""
    return x.unflatten(-1, (-1 if x.shape[-1] % size == 0 else heads, size)).transpose(1, 2)


def _expand(mask: torch.Tensor | None) -> torch.Tensor | None:
    """ComfyUI's mask ([q, k], [b, q, k] or [b, h, q, k]) with four axes."""
    while mask is not None and mask.ndim < 4:
        mask = mask.unsqueeze(0) if mask.ndim == 2 else mask.unsqueeze(1)
    return mask
