"""Dense attention that also gives the log-sum-exp of each row; what the sparse kernels and the search stand on.

Each device's own fused kernel where it returns one, plain fp32 mathematics elsewhere.
"""

from __future__ import annotations

import torch

from ..blockmap import BlockMap
from .table import has_triton

_AT = torch.ops.aten
_SCORES_BYTES = 256 << 20


def attention_with_lse(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over [b, h, l, d]: (out as `query`, lse fp32 [b, h, l], natural logarithm).

    key and value may have fewer heads than query (GQA). key_mask: bool [b, keys], False for padding.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    bias = None
    if key_mask is not None:
        bias = torch.zeros(key_mask.shape, dtype=query.dtype, device=query.device).masked_fill_(~key_mask, -torch.inf)
        bias = bias[:, None, None, :]
    return _best(query, value)(query, key, value, bias, scale)


def _best(query: torch.Tensor, value: torch.Tensor):  # type: ignore[no-untyped-def]
    same_dim = query.shape[-1] == value.shape[-1]
    if query.device.type == "cpu" and same_dim and query.dtype in (torch.float32, torch.bfloat16, torch.float16):
        return _cpu_flash
    if query.device.type == "cuda" and query.dtype in (torch.bfloat16, torch.float16) and same_dim and query.shape[-1] % 8 == 0:
        return _cuda_flash if query.shape[-1] <= 256 else _math
    return _math


def _cpu_flash(query, key, value, bias, scale):  # type: ignore[no-untyped-def]
    return _AT._scaled_dot_product_flash_attention_for_cpu(query, key, value, attn_mask=bias, scale=scale)


def _cuda_flash(query, key, value, bias, scale):  # type: ignore[no-untyped-def]
    if bias is None:
        return _AT._scaled_dot_product_flash_attention(query, key, value, scale=scale)[:2]
    if not has_triton():
        return _math(query, key, value, bias, scale)
    from .triton_blocks import triton_attention

    full = BlockMap.full(*query.shape[:2], query_block=128, key_block=64, length=(query.shape[2], key.shape[2]), device=query.device)
    return triton_attention(query, key, value, full, scale=scale, key_mask=bias[:, 0, 0] == 0)


def _math(query, key, value, bias, scale):  # type: ignore[no-untyped-def]
    """In pieces of query rows, so that the scores never take more than `_SCORES_BYTES`."""
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    keys, values = key.to(wide).mT, value.to(wide)
    row_bytes = query.shape[0] * query.shape[1] * key.shape[2] * wide.itemsize
    parts = [_piece(q.to(wide) * scale, keys, values, bias) for q in query.split(max(1, _SCORES_BYTES // row_bytes), 2)]
    out, lse = (torch.cat(side, 2) for side in zip(*parts, strict=True))
    return out.to(query.dtype), lse


def _piece(query, keys, values, bias):  # type: ignore[no-untyped-def]
    scores = query @ keys
    if bias is not None:
        scores += bias
    lse = scores.logsumexp(-1)
    seen = lse != -torch.inf
    return (scores - torch.where(seen, lse, 0.0).unsqueeze(-1)).exp_() @ values, lse
