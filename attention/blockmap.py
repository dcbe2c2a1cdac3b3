"""Block map: which key blocks each block of query rows attends to, as sorted lists; never a dense mask of tokens.

Shapes: b batch, h query heads, p query blocks, q key blocks. Blocks are runs of tokens in the order of the tensors;
the last block of each side may be ragged. Storage is int16 (int32 past 32,767 key blocks): for 118,000 tokens, 24 heads
and blocks of 128x64 at 20 % density 16 MB per layer, against 40 MB for a mask of blocks and 334 GB for one of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from videogen.core.errors import InputError

from .config import check_block


@dataclass(frozen=True)
class BlockMap:
    """Lists of key blocks for every (batch, head, query block).

    columns: int [b, h, p, k_max], ascending within `counts`, the rest is filler and must not be read.
    counts: int32 [b, h, p], from 1 to the number of key blocks.
    query_block, key_block: tokens per block, powers of two. query_length, key_length: tokens.
    recall: [b, h] retained fraction of the softmax mass, mean over rows, as estimated when the map was made; None if
    unknown.
    """

    columns: torch.Tensor
    counts: torch.Tensor
    query_block: int
    key_block: int
    query_length: int
    key_length: int
    recall: torch.Tensor | None = None

    def __post_init__(self) -> None:
        check_block("query_block", self.query_block)
        check_block("key_block", self.key_block)

    @classmethod
    def from_dense(
        cls,
        mask: torch.Tensor,
        *,
        query_block: int,
        key_block: int,
        length: int | tuple[int, int],
        recall: torch.Tensor | None = None,
    ) -> BlockMap:
        """From a bool mask of blocks [b, h, p, q]. length: tokens, or (query tokens, key tokens).

        Every row must have a block (InputError): softmax over nothing is not defined.
        """
        query_length, key_length = length if isinstance(length, tuple) else (length, length)
        check_block("query_block", query_block)
        check_block("key_block", key_block)
        rows, cols = block_count(query_length, query_block), block_count(key_length, key_block)
        if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[-2:] != (rows, cols) or 0 in mask.shape:
            raise InputError(
                f"mask is {mask.dtype} {list(mask.shape)}; {query_length}x{key_length} tokens in blocks of "
                f"{query_block}x{key_block} need bool [batch, heads, {rows}, {cols}]"
            )
        counts = mask.sum(-1, dtype=torch.int32)
        if bool((counts == 0).any()):
            raise InputError(f"{int((counts == 0).sum())} query blocks have no key block; each needs at least one")
        width = int(counts.max())
        # a stable descending sort of the mask puts the attended columns first, in ascending order
        order = mask.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[..., :width]
        dtype = torch.int16 if cols < 2**15 else torch.int32
        return cls(order.to(dtype).contiguous(), counts, query_block, key_block, query_length, key_length, recall)

    def to_dense(self) -> torch.Tensor:
        """The mask of blocks, bool [b, h, p, q]."""
        cols = self.shape[1]
        listed = torch.arange(self.columns.shape[-1], device=self.columns.device) < self.counts.unsqueeze(-1)
        mask = torch.zeros(*self.counts.shape, cols, dtype=torch.uint8, device=self.columns.device)
        # filler writes its 0 into an accumulator that never goes down
        mask.scatter_reduce_(-1, self.columns.long(), listed.to(torch.uint8), "amax")
        return mask.bool()

    def expand(self) -> torch.Tensor:
        """The mask of tokens, bool [b, h, query_length, key_length]: for tests and small inputs."""
        mask = self.to_dense().repeat_interleave(self.query_block, -2).repeat_interleave(self.key_block, -1)
        return mask[..., : self.query_length, : self.key_length]

    @property
    def shape(self) -> tuple[int, int]:
        """(query blocks, key blocks)."""
        return block_count(self.query_length, self.query_block), block_count(self.key_length, self.key_block)

    @property
    def density(self) -> float:
        """(query, key) pairs of tokens within the map over all pairs; ragged blocks count by their tokens."""
        return float(self.head_density().mean())

    def head_density(self) -> torch.Tensor:
        """`density` of each head, fp32 [b, h]."""
        device = self.columns.device
        cols = self.shape[1]
        row_sizes = block_sizes(self.query_length, self.query_block, device)
        tail = cols * self.key_block - self.key_length
        last = self.columns.long().gather(-1, (self.counts.long() - 1).unsqueeze(-1)).squeeze(-1)
        keys = self.counts * self.key_block - tail * (last == cols - 1)
        return (keys * row_sizes).sum(-1).float() / (self.query_length * self.key_length)

    @property
    def nbytes(self) -> int:
        return self.columns.nbytes + self.counts.nbytes

    def attended(self, rows: torch.Tensor) -> torch.Tensor:
        """Which key blocks the query blocks `rows` (int64 [b, h, n]) attend to: bool [b, h, n, q]."""
        width = self.columns.shape[-1]
        columns = self.columns.long().gather(2, rows.unsqueeze(-1).expand(-1, -1, -1, width))
        counts = self.counts.gather(2, rows)
        listed = torch.arange(width, device=rows.device) < counts.unsqueeze(-1)
        mask = torch.zeros(*rows.shape, self.shape[1], dtype=torch.uint8, device=rows.device)
        return mask.scatter_reduce_(-1, columns, listed.to(torch.uint8), "amax").bool()

    def full_heads(self) -> torch.Tensor:
        """Which heads leave nothing out, bool [b, h]."""
        return (self.counts == self.shape[1]).all(-1)

    def select_heads(self, heads: torch.Tensor) -> BlockMap:
        """The map of these heads (int64 [n]) only."""
        recall = None if self.recall is None else self.recall[:, heads]
        return replace(self, columns=self.columns[:, heads], counts=self.counts[:, heads], recall=recall)

    def with_mask(self, mask: torch.Tensor, recall: torch.Tensor | None = None) -> BlockMap:
        """Another mask of blocks, bool [b, h, p, q], over the same tokens. recall: [b, h], see the class."""
        return BlockMap.from_dense(
            mask,
            query_block=self.query_block,
            key_block=self.key_block,
            length=(self.query_length, self.key_length),
            recall=recall,
        )

    def to(self, device: torch.device | str) -> BlockMap:
        """The same map on another device."""
        recall = None if self.recall is None else self.recall.to(device)
        return replace(self, columns=self.columns.to(device), counts=self.counts.to(device), recall=recall)

    def pack(self) -> torch.Tensor:
        """The mask of blocks as bits, uint8 [b, h, p, ceil(q / 8)]: the smallest form above 1/16 density."""
        mask = self.to_dense().to(torch.uint8)
        mask = torch.nn.functional.pad(mask, (0, -mask.shape[-1] % 8)).unflatten(-1, (-1, 8))
        return (mask << _bits(mask.device)).sum(-1, dtype=torch.uint8)

    @classmethod
    def unpack(cls, bits: torch.Tensor, *, query_block: int, key_block: int, length: int | tuple[int, int]) -> BlockMap:
        """The map whose `pack()` is `bits`."""
        key_length = length[1] if isinstance(length, tuple) else length
        mask = ((bits.unsqueeze(-1) >> _bits(bits.device)) & 1).bool().flatten(-2)
        mask = mask[..., : block_count(key_length, key_block)]
        return cls.from_dense(mask, query_block=query_block, key_block=key_block, length=length)

    @classmethod
    def full(
        cls,
        batch: int,
        heads: int,
        *,
        query_block: int,
        key_block: int,
        length: int | tuple[int, int],
        device: str | torch.device = "cpu",
    ) -> BlockMap:
        """Density 1."""
        query_length, key_length = length if isinstance(length, tuple) else (length, length)
        shape = (batch, heads, block_count(query_length, query_block), block_count(key_length, key_block))
        mask = torch.ones(shape, dtype=torch.bool, device=device)
        recall = torch.ones(batch, heads, device=device)
        return cls.from_dense(mask, query_block=query_block, key_block=key_block, length=length, recall=recall)


@dataclass(frozen=True)
class Forced:
    """Token ranges that are always attended, [start, stop): text, a condition, the first frame.

    rows: query tokens that see everything; columns: key tokens that everything sees; extra: key tokens that everything
    sees in addition to the blocks that a sparsity retains, so that however many they are, they displace no other block.
    """

    rows: Sequence[tuple[int, int]] = ()
    columns: Sequence[tuple[int, int]] = ()
    extra: Sequence[tuple[int, int]] = ()

    def apply(self, mask: torch.Tensor, query_block: int, key_block: int, length: tuple[int, int]) -> torch.Tensor:
        """A mask of blocks [b, h, p, q] with every block that rows and columns touch switched on. length: (query, key)
        tokens.

        Raises InputError for a range that is not within them.
        """
        for spans, tokens in ((self.rows, length[0]), (self.columns, length[1]), (self.extra, length[1])):
            for start, stop in spans:
                if not 0 <= start <= stop <= tokens:
                    raise InputError(f"forced range [{start}, {stop}) is not within the {tokens} tokens of this call")
        mask = mask.clone()
        for start, stop in self.rows:
            mask[..., start // query_block : block_count(stop, query_block), :] = True
        for start, stop in self.columns:
            mask[..., start // key_block : block_count(stop, key_block)] = True
        return mask

    def add_extra(self, mask: torch.Tensor, key_block: int) -> torch.Tensor:
        """A mask of blocks [b, h, p, q] with those of `extra` added; the mask itself where there are none. `apply` has
        checked the ranges."""
        mask = mask.clone() if self.extra else mask
        for start, stop in self.extra:
            mask[..., start // key_block : block_count(stop, key_block)] = True
        return mask


def check_key_mask(key_mask: torch.Tensor | None, key: torch.Tensor) -> None:
    """InputError where a mask is not bool [b, k] for keys [b, g, k, d]."""
    expected = (key.shape[0], key.shape[2])
    if key_mask is not None and (key_mask.dtype != torch.bool or tuple(key_mask.shape) != expected):
        raise InputError(f"key_mask is {key_mask.dtype} {list(key_mask.shape)}; it must be bool {list(expected)}")


def visible_blocks(key_mask: torch.Tensor, key_block: int) -> torch.Tensor:
    """Which key blocks have a token that is not padding: bool [b, q]."""
    return torch.nn.functional.pad(key_mask, (0, -key_mask.shape[1] % key_block)).unflatten(1, (-1, key_block)).any(-1)


def block_count(length: int, block: int) -> int:
    return -(-length // block)


def block_sizes(length: int, block: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Tokens of each block, int64 [ceil(length / block)]."""
    sizes = torch.full((block_count(length, block),), block, device=device)
    if length % block:
        sizes[-1] = length % block
    return sizes


def _bits(device: torch.device) -> torch.Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)
