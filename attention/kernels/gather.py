"""The portable block-sparse kernel (`torch`): gather the kept key blocks, then the device's own fused attention.

Query blocks that keep equally many keys form one batch, so nothing is padded and no key counts twice. Large query
blocks pay: with 256 query rows the gather is a few per cent of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..blockmap import BlockMap
from .dense import attention_with_lse

_CHUNK_BYTES = 8 << 20  # of gathered keys and values: stays near the last-level cache

# Legend: b batch, h heads, g key heads, p query blocks, q key blocks, m query rows a block, n keys a block, d head dim.


def gather_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    block_map: BlockMap,
    *,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention within the map: (out [b, h, l, d], lse fp32 [b, h, l])."""
    b, h, length, _ = query.shape
    p, q = block_map.shape
    m, n = block_map.query_block, block_map.key_block
    rows_q = _blocks(query, m, p)
    keys, values = _blocks(key, n, q), _blocks(value, n, q)
    valid = None if key_mask is None else _blocks(key_mask[:, None, :, None], n, q).flatten(1)
    out = torch.empty(b * h * p, m, value.shape[-1], dtype=query.dtype, device=query.device)
    lse = torch.empty(b * h * p, m, dtype=torch.float64 if query.dtype == torch.float64 else torch.float32, device=query.device)
    heads = torch.arange(b * h, device=query.device)
    key_heads = heads // h * key.shape[1] + heads % h // (h // key.shape[1])
    for group in _groups(block_map):
        for rows, count in _chunks(group, block_map, keys):
            block = key_heads[rows // p, None] * q + block_map.columns.flatten(0, 2)[rows, : group.blocks].long()
            k, v = (x.index_select(0, block.flatten()).view(len(rows), 1, -1, x.shape[-1])[:, :, :count] for x in (keys, values))
            mask = None
            if valid is not None:
                kept = block % q + rows[:, None] // p // h * q
                mask = valid.index_select(0, kept.flatten()).view(len(rows), -1)[:, :count]
            part, part_lse = attention_with_lse(rows_q.index_select(0, rows).unsqueeze(1), k, v, scale=scale, key_mask=mask)
            out.index_copy_(0, rows, part.squeeze(1))
            lse.index_copy_(0, rows, part_lse.squeeze(1).to(lse.dtype))
    return out.view(b, h, p * m, -1)[:, :, :length], lse.view(b, h, p * m)[:, :, :length]


def _blocks(x: torch.Tensor, size: int, count: int) -> torch.Tensor:
    """[b, h, l, d] to contiguous [b * h * count, size, d]; a ragged last block is filled with zeros."""
    missing = count * size - x.shape[2]
    if missing:
        x = torch.nn.functional.pad(x, (0, 0, 0, missing))
    return x.reshape(-1, size, x.shape[-1])


class _Group:
    """Query blocks (int64 [r], numbered through batch and heads) that keep `blocks` key blocks, the ragged last one or not."""

    def __init__(self, rows: torch.Tensor, blocks: int, ragged: bool) -> None:
        self.rows, self.blocks, self.ragged = rows, blocks, ragged


def _groups(block_map: BlockMap) -> Iterator[_Group]:
    counts = block_map.counts.flatten().long()
    q = block_map.shape[1]
    last = block_map.columns.flatten(0, 2).gather(1, counts[:, None] - 1).squeeze(1)
    ragged = (last == q - 1) if block_map.key_length % block_map.key_block else torch.zeros_like(counts, dtype=torch.bool)
    label = counts * 2 + ragged
    for value in label.unique().tolist():
        yield _Group((label == value).nonzero().squeeze(1), value // 2, bool(value % 2))


def _chunks(group: _Group, block_map: BlockMap, keys: torch.Tensor) -> Iterator[tuple[torch.Tensor, int]]:
    """(rows, keys each of them keeps) in pieces whose gathered keys and values fit the budget."""
    n = block_map.key_block
    missing = block_map.shape[1] * n - block_map.key_length if group.ragged else 0
    size = 2 * group.blocks * n * keys.shape[-1] * keys.element_size()
    step = max(torch.get_num_threads() if keys.device.type == "cpu" else 64, _CHUNK_BYTES // size)
    for rows in group.rows.split(step):
        yield rows, group.blocks * n - missing
