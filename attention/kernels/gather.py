"""The portable block-sparse kernel (`torch`): gather the attended key blocks, then call the device's fused attention.

Query blocks that attend to equally many keys form one batch, so nothing is padded and no key counts twice. Large query
blocks pay off: with 256 query rows the gather is a few per cent of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch

from videogen.attention.blockmap import BlockMap

from .dense import attention_with_lse
from .parallel import parallel_for, scratch
from .table import Case

_BATCH_BYTES = 2 << 20  # of gathered keys and values of one batch: more is evicted from the caches before it is read
_BATCHES = 4  # at least as many per thread, so that a slow thread delays little

# Legend: b batch, h heads, g key heads, l tokens, p query blocks, q key blocks, m query rows per block, n keys per
# block, d head dim.


def refuses(case: Case) -> str | None:
    """Nothing is refused: this kernel is the fallback for every call."""
    return None


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
    query, keys, real = _pad(query, p * block_map.query_block), q * block_map.key_block, block_map.key_length
    key, value = _pad(key, keys), _pad(value, keys)
    valid = None if key_mask is None else torch.nn.functional.pad(key_mask, (0, keys - key_mask.shape[1]))
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    out = torch.empty(
        b, p * block_map.query_block, h, value.shape[-1], dtype=query.dtype, device=query.device
    ).transpose(1, 2)
    lse = torch.empty(b, h, p * block_map.query_block, dtype=wide, device=query.device)
    groups = h // key.shape[1]
    threads = torch.get_num_threads() if query.device.type == "cpu" else 1
    most = max(1, b * h * p // (_BATCHES * threads)) if threads > 1 else p
    full = block_map.full_heads().tolist()
    heads: list[tuple[_Head, torch.Tensor, torch.Tensor]] = []
    for i in range(b):
        for j in range(h):
            if full[i][j]:  # nothing is left out, so nothing is gathered
                g, one = j // groups, slice(i, i + 1)
                k, v = (x[one, g : g + 1, :real] for x in (key, value))
                mask = None if key_mask is None else key_mask[one]
                out[one, j : j + 1], lse[one, j : j + 1] = attention_with_lse(
                    query[one, j : j + 1], k, v, scale=scale, key_mask=mask
                )
                continue
            group = key[i, j // groups], value[i, j // groups], None if valid is None else valid[i]
            head = _Head.from_tokens(block_map, query[i, j], out[i, j], lse[i, j], *group)
            heads.append((head, block_map.columns[i, j], block_map.counts[i, j]))
    batches = (batch for head in heads for batch in _batches(*head, block_map, most))
    parallel_for(batches, partial(_attend, scale=scale), threads=threads)
    return out[:, :, :length], lse[:, :, :length]


class _Head(NamedTuple):
    """One head's tensors in full blocks, with their strides: query, out [p, m, d], lse [p, m], key, value [q, n, d],
    valid [q, n]."""

    query: torch.Tensor
    out: torch.Tensor
    lse: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    valid: torch.Tensor | None

    @classmethod
    def from_tokens(  # type: ignore[no-untyped-def]
        cls, block_map: BlockMap, query, out, lse, key, value, valid
    ) -> _Head:
        """From tensors whose first axis is tokens."""
        m, n = block_map.query_block, block_map.key_block
        query, out, lse = (x.unflatten(0, (-1, m)) for x in (query, out, lse))
        key, value = (x.unflatten(0, (-1, n)) for x in (key, value))
        return cls(query, out, lse, key, value, None if valid is None else valid.unflatten(0, (-1, n)))


class _Batch(NamedTuple):
    """Query blocks of one head that are computed by one call. rows: which query blocks, r of them; chosen: the key
    blocks of each in turn, int64 [r * blocks]; keys: their number per query block."""

    head: _Head
    rows: torch.Tensor | slice
    chosen: torch.Tensor
    keys: int


def _attend(batch: _Batch, scale: float | None) -> None:
    """Fill in the batch's rows of its head's out and lse."""
    head, rows = batch.head, batch.rows
    query = head.query[rows].unsqueeze(1)
    k, v = (_gather(name, x, batch, len(query)) for name, x in (("keys", head.key), ("values", head.value)))
    mask = (
        None if head.valid is None else head.valid.index_select(0, batch.chosen).view(len(query), -1)[:, : batch.keys]
    )
    out, lse = attention_with_lse(query, k, v, scale=scale, key_mask=mask)
    head.out[rows], head.lse[rows] = out.squeeze(1), lse.squeeze(1)


def _gather(name: str, source: torch.Tensor, batch: _Batch, rows: int) -> torch.Tensor:
    """A batch's keys or values, [rows, 1, keys, d], valid until the next call with this name."""
    count, (n, d) = len(batch.chosen), source.shape[1:]
    into = scratch(name, count * n * d, source).view(count, n, d)
    return torch.index_select(source, 0, batch.chosen, out=into).view(rows, 1, -1, d)[:, :, : batch.keys]


def _batches(
    head: _Head, columns: torch.Tensor, counts: torch.Tensor, block_map: BlockMap, most: int
) -> Iterator[_Batch]:
    """A head's query blocks, grouped by their number of keys, in batches of at most `most` blocks that fit the budget.

    columns [p, k_max], counts [p]. Rows that attend to the ragged last key block have fewer keys, so they form separate
    batches.
    """
    n, q = block_map.key_block, block_map.shape[1]
    missing = q * n - block_map.key_length
    counts = counts.long()
    ragged = (
        columns.gather(1, counts[:, None] - 1).squeeze(1) == q - 1
        if missing
        else torch.zeros_like(counts, dtype=torch.bool)
    )
    label = counts * 2 + ragged
    for value in label.unique().tolist():
        blocks, short = value // 2, missing if value % 2 else 0
        size = 2 * blocks * n * head.key.shape[-1] * head.key.element_size()
        step = (
            max(1, min(most, _BATCH_BYTES // size))
            if head.key.device.type == "cpu"
            else max(64, 64 * _BATCH_BYTES // size)
        )
        for rows in (label == value).nonzero().squeeze(1).split(step):
            first, last = int(rows[0]), int(rows[-1])
            together = last - first + 1 == len(rows)  # adjacent blocks need no copy of their queries
            chosen = columns[rows, :blocks].long().flatten()
            yield _Batch(head, slice(first, last + 1) if together else rows, chosen, blocks * n - short)


def _pad(x: torch.Tensor, length: int) -> torch.Tensor:
    """[b, h, l, d] padded with zeros to `length` tokens; unchanged, strides included, if none are missing."""
    return x if x.shape[2] == length else torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[2]))
