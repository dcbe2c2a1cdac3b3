"""Block-sparse attention through PyTorch's FlexAttention, compiled: an alternative to our Triton kernel on CUDA.

On a CPU FlexAttention gives no log-sum-exp and needs a C++ compiler, so it is not offered there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from videogen.attention.blockmap import BlockMap

from .table import Case


def refuses(case: Case) -> str | None:
    """Why FlexAttention cannot take a call; None where it can."""
    if case.device != "cuda":
        return "on a CPU FlexAttention gives no log-sum-exp"
    if case.dtype == torch.float64:
        return "float64 is not supported"
    return None if min(case.query_block, case.key_block) >= 64 else "FlexAttention needs blocks of at least 64 tokens"


def flex_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    block_map: BlockMap,
    *,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
    compiled: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention within the map: (out [b, h, l, d], lse fp32 [b, h, l]). `compiled=False` is slow and for tests."""
    from torch.nn.attention import flex_attention as flex

    call: Any = _compiled() if compiled else flex.flex_attention
    out, extra = call(
        query, key, value, block_mask=to_block_mask(block_map, key_mask), scale=scale,
        enable_gqa=query.shape[1] != key.shape[1], return_aux=flex.AuxRequest(lse=True),
    )  # fmt: skip
    return out, extra.lse


def to_block_mask(block_map: BlockMap, key_mask: torch.Tensor | None = None) -> Any:
    """A map in FlexAttention's form. Full blocks skip the mask function; with padding every block calls it."""
    from torch.nn.attention.flex_attention import BlockMask

    attended, columns = block_map.to_dense(), block_map.columns.to(torch.int32)
    m, n, length = block_map.query_block, block_map.key_block, block_map.key_length

    def mask_mod(b, h, row, column):  # type: ignore[no-untyped-def]
        allowed = attended[b, h, row // m, column // n] & (column < length)
        return allowed if key_mask is None else allowed & key_mask[b, column.clamp(max=length - 1)]

    width = block_map.shape[1]
    columns = torch.nn.functional.pad(columns, (0, width - columns.shape[-1]))
    none = torch.zeros_like(block_map.counts)
    partial = key_mask is not None or length % n != 0 or block_map.query_length % m != 0
    lists: tuple[Any, ...] = (block_map.counts, columns, None, None)
    if not partial:
        lists = (none, torch.zeros_like(columns), block_map.counts, columns)
    return BlockMask.from_kv_blocks(  # type: ignore[misc]
        *lists,
        BLOCK_SIZE=(m, n),
        mask_mod=mask_mod,
        seq_lengths=(block_map.query_length, length),
        compute_q_blocks=False,
    )


@lru_cache(maxsize=1)
def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention as call

    return torch.compile(call, dynamic=False)
