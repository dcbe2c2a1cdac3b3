"""The portable block-sparse kernel (`torch`): gather the kept key blocks, then the device's own fused attention.

Query blocks that keep equally many keys form one batch, so nothing is padded and no key counts twice. Large query
blocks pay: with 256 query rows the gather is a few per cent of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from ..blockmap import BlockMap
from .dense import attention_with_lse

_CHUNK_BYTES = 2 << 20  # of gathered keys and values, a thread: more falls out of the caches before it is read

# Legend: b batch, h heads, g key heads, l tokens, p query blocks, q key blocks, m query rows a block, n keys a block, d head dim.


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
    query, keys, real = _padded(query, p * block_map.query_block), q * block_map.key_block, block_map.key_length
    key, value = _padded(key, keys), _padded(value, keys)
    valid = None if key_mask is None else torch.nn.functional.pad(key_mask, (0, keys - key_mask.shape[1]))
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    out = torch.empty(b, p * block_map.query_block, h, value.shape[-1], dtype=query.dtype, device=query.device).transpose(1, 2)
    lse = torch.empty(b, h, p * block_map.query_block, dtype=wide, device=query.device)
    groups = h // key.shape[1]
    whole = block_map.whole_heads().tolist()
    for i in range(b):
        for j in range(h):
            if whole[i][j]:  # nothing is left out, so nothing is gathered
                g, one = j // groups, slice(i, i + 1)
                k, v = (x[one, g : g + 1, :real] for x in (key, value))
                mask = None if key_mask is None else key_mask[one]
                out[one, j : j + 1], lse[one, j : j + 1] = attention_with_lse(query[one, j : j + 1], k, v, scale=scale, key_mask=mask)
                continue
            head = _Head(query[i, j], key[i, j // groups], value[i, j // groups], None if valid is None else valid[i], out[i, j], lse[i, j])
            _attend(head, block_map.columns[i, j], block_map.counts[i, j], block_map, scale)
    return out[:, :, :length], lse[:, :, :length]


class _Head(NamedTuple):
    """One head's tensors, padded to whole blocks, strided as they came: query, out [l, d], key, value [k, d], valid [k], lse [l]."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    valid: torch.Tensor | None
    out: torch.Tensor
    lse: torch.Tensor


def _attend(head: _Head, columns: torch.Tensor, counts: torch.Tensor, block_map: BlockMap, scale: float | None) -> None:
    """Fill in one head's out and lse: columns [p, k_max], counts [p]."""
    m, n = block_map.query_block, block_map.key_block
    queries, out, lse = head.query.unflatten(0, (-1, m)), head.out.unflatten(0, (-1, m)), head.lse.unflatten(0, (-1, m))
    keys, values = head.key.unflatten(0, (-1, n)), head.value.unflatten(0, (-1, n))
    valid = None if head.valid is None else head.valid.unflatten(0, (-1, n))
    rooms = (_Room(), _Room())
    for rows, blocks, kept in _batches(columns, counts, block_map, head.key):
        chosen = columns[rows, :blocks].long().flatten()
        k, v = (room.take(x, chosen).view(len(rows), 1, blocks * n, -1)[:, :, :kept] for room, x in zip(rooms, (keys, values), strict=True))
        mask = None if valid is None else valid.index_select(0, chosen).view(len(rows), -1)[:, :kept]
        first, last = int(rows[0]), int(rows[-1])
        where = slice(first, last + 1) if last - first + 1 == len(rows) else rows  # neighbours need no copy of their queries
        part, part_lse = attention_with_lse(queries[where].unsqueeze(1), k, v, scale=scale, key_mask=mask)
        out[where], lse[where] = part.squeeze(1), part_lse.squeeze(1).to(lse.dtype)


class _Room:
    """One piece of memory that every batch gathers into: fresh pages cost as much as the copy."""

    def __init__(self) -> None:
        self._buffer: torch.Tensor | None = None

    def take(self, source: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """source[chosen], which lasts until the next call."""
        if self._buffer is None or len(self._buffer) < len(chosen):
            self._buffer = source.new_empty(len(chosen), *source.shape[1:])
        room = self._buffer[: len(chosen)]
        return torch.index_select(source, 0, chosen, out=room)


def _batches(
    columns: torch.Tensor, counts: torch.Tensor, block_map: BlockMap, key: torch.Tensor
) -> Iterator[tuple[torch.Tensor, int, int]]:
    """(query blocks int64 [r], key blocks that each keeps, keys in them): equal lengths together, in pieces that fit the budget.

    Rows that keep the ragged last key block have fewer keys, so they form batches of their own.
    """
    n, q = block_map.key_block, block_map.shape[1]
    missing = q * n - block_map.key_length
    counts = counts.long()
    ragged = columns.gather(1, counts[:, None] - 1).squeeze(1) == q - 1 if missing else torch.zeros_like(counts, dtype=torch.bool)
    label = counts * 2 + ragged
    for value in label.unique().tolist():
        blocks, short = value // 2, missing if value % 2 else 0
        size = 2 * blocks * n * key.shape[-1] * key.element_size()
        threads = torch.get_num_threads() if key.device.type == "cpu" else 64
        step = max(threads, _CHUNK_BYTES * threads // size)
        for rows in (label == value).nonzero().squeeze(1).split(step):
            yield rows, blocks, blocks * n - short


def _padded(x: torch.Tensor, length: int) -> torch.Tensor:
    """[b, h, l, d] with zeros up to `length` tokens; as it is, strides and all, where none are missing."""
    return x if x.shape[2] == length else torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[2]))
