"""The portable block-sparse kernel (`torch`): gather the kept key blocks, then the device's own fused attention.

Query blocks that keep equally many keys form one batch, so nothing is padded and no key counts twice. Large query
blocks pay: with 256 query rows the gather is a few per cent of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch

from videogen.attention.blockmap import BlockMap

from .dense import attention_with_lse
from .sharing import parallel_for, scratch
from .table import Case

_CHUNK_BYTES = 2 << 20  # of gathered keys and values in a piece: more falls out of the caches before it is read
_PIECES = 4  # at least so many a thread, so that a slow one holds up little

# Legend: b batch, h heads, g key heads, l tokens, p query blocks, q key blocks, m query rows a block, n keys a block, d
# head dim.


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
    query, keys, real = _padded(query, p * block_map.query_block), q * block_map.key_block, block_map.key_length
    key, value = _padded(key, keys), _padded(value, keys)
    valid = None if key_mask is None else torch.nn.functional.pad(key_mask, (0, keys - key_mask.shape[1]))
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    out = torch.empty(
        b, p * block_map.query_block, h, value.shape[-1], dtype=query.dtype, device=query.device
    ).transpose(1, 2)
    lse = torch.empty(b, h, p * block_map.query_block, dtype=wide, device=query.device)
    groups = h // key.shape[1]
    threads = torch.get_num_threads() if query.device.type == "cpu" else 1
    most = max(1, b * h * p // (_PIECES * threads)) if threads > 1 else p
    whole = block_map.full_heads().tolist()
    heads: list[tuple[_Head, torch.Tensor, torch.Tensor]] = []
    for i in range(b):
        for j in range(h):
            if whole[i][j]:  # nothing is left out, so nothing is gathered
                g, one = j // groups, slice(i, i + 1)
                k, v = (x[one, g : g + 1, :real] for x in (key, value))
                mask = None if key_mask is None else key_mask[one]
                out[one, j : j + 1], lse[one, j : j + 1] = attention_with_lse(
                    query[one, j : j + 1], k, v, scale=scale, key_mask=mask
                )
                continue
            theirs = key[i, j // groups], value[i, j // groups], None if valid is None else valid[i]
            head = _Head.of(block_map, query[i, j], out[i, j], lse[i, j], *theirs)
            heads.append((head, block_map.columns[i, j], block_map.counts[i, j]))
    pieces = (piece for head in heads for piece in _pieces(*head, block_map, most))
    parallel_for(pieces, partial(_attend, scale=scale), threads=threads)
    return out[:, :, :length], lse[:, :, :length]


class _Head(NamedTuple):
    """One head's tensors in whole blocks, strided as they came: query, out [p, m, d], lse [p, m], key, value [q, n, d],
    valid [q, n]."""

    query: torch.Tensor
    out: torch.Tensor
    lse: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    valid: torch.Tensor | None

    @classmethod
    def of(cls, block_map: BlockMap, query, out, lse, key, value, valid) -> _Head:  # type: ignore[no-untyped-def]
        """From tensors whose first axis is tokens."""
        m, n = block_map.query_block, block_map.key_block
        query, out, lse = (x.unflatten(0, (-1, m)) for x in (query, out, lse))
        key, value = (x.unflatten(0, (-1, n)) for x in (key, value))
        return cls(query, out, lse, key, value, None if valid is None else valid.unflatten(0, (-1, n)))


class _Piece(NamedTuple):
    """What is attended to in one go. rows: which query blocks, r of them; chosen: the key blocks of each in turn, int64
    [r * blocks]; kept: keys of each."""

    head: _Head
    rows: torch.Tensor | slice
    chosen: torch.Tensor
    kept: int


def _attend(piece: _Piece, scale: float | None) -> None:
    """Fill in the piece's rows of its head's out and lse."""
    head, rows = piece.head, piece.rows
    query = head.query[rows].unsqueeze(1)
    k, v = (_gathered(name, x, piece, len(query)) for name, x in (("keys", head.key), ("values", head.value)))
    mask = (
        None if head.valid is None else head.valid.index_select(0, piece.chosen).view(len(query), -1)[:, : piece.kept]
    )
    out, lse = attention_with_lse(query, k, v, scale=scale, key_mask=mask)
    head.out[rows], head.lse[rows] = out.squeeze(1), lse.squeeze(1)


def _gathered(name: str, source: torch.Tensor, piece: _Piece, rows: int) -> torch.Tensor:
    """A piece's keys or values, [rows, 1, kept, d], which last until the next of that name."""
    count, (n, d) = len(piece.chosen), source.shape[1:]
    into = scratch(name, count * n * d, source).view(count, n, d)
    return torch.index_select(source, 0, piece.chosen, out=into).view(rows, 1, -1, d)[:, :, : piece.kept]


def _pieces(
    head: _Head, columns: torch.Tensor, counts: torch.Tensor, block_map: BlockMap, most: int
) -> Iterator[_Piece]:
    """A head's query blocks, those that keep equally many keys together, in pieces of at most `most` that fit the
    budget.

    columns [p, k_max], counts [p].
    Rows that keep the ragged last key block have fewer keys, so they form pieces of their own.
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
            max(1, min(most, _CHUNK_BYTES // size))
            if head.key.device.type == "cpu"
            else max(64, 64 * _CHUNK_BYTES // size)
        )
        for rows in (label == value).nonzero().squeeze(1).split(step):
            first, last = int(rows[0]), int(rows[-1])
            together = last - first + 1 == len(rows)  # neighbours need no copy of their queries
            chosen = columns[rows, :blocks].long().flatten()
            yield _Piece(head, slice(first, last + 1) if together else rows, chosen, blocks * n - short)


def _padded(x: torch.Tensor, length: int) -> torch.Tensor:
    """[b, h, l, d] with zeros up to `length` tokens; as it is, strides and all, where none are missing."""
    return x if x.shape[2] == length else torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[2]))
