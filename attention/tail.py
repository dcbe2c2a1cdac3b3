"""Tail compensation: each dropped block is replaced by its mean key and mean value.

The zeroth-order term of Sol-Attn (arXiv 2607.24027): block j of n_j keys enters the softmax with weight
n_j exp(scale q.kbar_j) and value vbar_j. Costs about 1 / key_block of dense attention's arithmetic.
"""

from __future__ import annotations

import torch

from .blockmap import BlockMap, block_sizes
from .lse import merge


def add_tail(
    out: torch.Tensor,
    lse: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    block_map: BlockMap,
    *,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sparse attention (out [b, h, l, d] with its lse [b, h, l]) with the dropped blocks' means merged in exactly by
    lse."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    groups = query.shape[1] // key.shape[1]
    sizes = block_sizes(block_map.key_length, block_map.key_block, key.device).float().expand(key.shape[0], -1)
    if key_mask is not None:
        sizes = _sums(key_mask[:, None, :, None].float(), block_map)[:, 0, :, 0]
        key, value = key * key_mask[:, None, :, None], value * key_mask[:, None, :, None]
    mean_key, mean_value = (
        (_sums(x, block_map) / sizes.clamp(min=1)[:, None, :, None]).repeat_interleave(groups, 1) for x in (key, value)
    )
    mask = block_map.to_dense()
    result = torch.empty_like(out)
    for row in range(block_map.shape[0]):
        rows = slice(row * block_map.query_block, (row + 1) * block_map.query_block)
        scores = query[:, :, rows].float() @ mean_key.mT * scale + sizes.log()[:, None, None, :]
        scores = scores.masked_fill(mask[:, :, row, None], -torch.inf)
        tail_lse = scores.logsumexp(-1)
        weights = (scores - tail_lse.nan_to_num(neginf=0.0).unsqueeze(-1)).exp()
        result[:, :, rows], _ = merge(out[:, :, rows], lse[:, :, rows], (weights @ mean_value).to(out.dtype), tail_lse)
    return result


def _sums(x: torch.Tensor, block_map: BlockMap) -> torch.Tensor:
    """Sums over key blocks, fp32: [b, g, l, d] to [b, g, q, d]."""
    count, block = block_map.shape[1], block_map.key_block
    padded = torch.nn.functional.pad(x.float(), (0, 0, 0, count * block - x.shape[2]))
    return padded.unflatten(2, (count, block)).sum(3)
