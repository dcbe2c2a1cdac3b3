"""What happens at one attention call: dense, search, or sparse by the map that is there. One class a policy.

A policy holds no state; what a site remembers between steps is its `Memory`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from .blockmap import BlockMap, Forced, block_count, visible_blocks
from .confidence import rows_to_show
from .config import SparseAttention
from .kernels.dense import attention_with_lse
from .searching import audit_map, default_query_block, search
from .select import top_rows
from .sparse import sparse_attention
from .tail import add_tail

#: Above this density of a head, a gather or a list walk costs more than dense attention saves.
DENSE_ABOVE = 0.85


@dataclass(frozen=True)
class Call:
    """One attention call. query [b, h, l, d], key and value [b, g, l, d], in the order of tokens that blocks are cut
    from.

    step counts from 0; steps: of the whole run, None if unknown; seed: of the sampled rows.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scale: float | None
    key_mask: torch.Tensor | None
    forced: Forced
    step: int
    steps: int | None
    seed: int

    def progress(self) -> float:
        """The share of the steps that lie behind; 0 where their number is unknown and this is the first."""
        return self.step / self.steps if self.steps else (0.0 if self.step == 0 else 1.0)


@dataclass
class Memory:
    """What one site remembers: its map, the lse of its dense pass, the searches that AdaSpa has done, and the step from
    which another search is due, at ever longer intervals (`patience`)."""

    block_map: BlockMap | None = None
    lse: torch.Tensor | None = None
    searches: int = 0
    search_at: int = 0
    patience: int = 1


@dataclass(frozen=True)
class Outcome:
    """A call's result (None: run it dense, as it was) and what was measured.

    recall: the smallest over heads; bound: what it is at least. why: the reason where a call ran dense.
    """

    out: torch.Tensor | None
    density: float = 1.0
    searched: bool = False
    recall: float | None = None
    bound: float | None = None
    why: str | None = None
    used: BlockMap | None = field(default=None, repr=False)


class Policy(Protocol):
    def attend(self, call: Call, memory: Memory) -> Outcome: ...


def make_policy(config: SparseAttention) -> Policy:
    if config.recall is not None:
        return RecallPolicy(config)
    return WindowPolicy(config) if config.window else AdaSpaPolicy(config)


class _Base:
    def __init__(self, config: SparseAttention) -> None:
        self.config = config

    def _options(self, call: Call) -> dict[str, object]:
        """What every search shares."""
        block = self.config.query_block or default_query_block(call.query.device)
        return {
            "query_block": block, "key_block": self.config.key_block, "forced": call.forced, "scale": call.scale,
            "key_mask": call.key_mask, "seed": call.seed,
        }  # fmt: skip

    def _sparse(self, call: Call, block_map: BlockMap) -> torch.Tensor:
        arguments = (call.query, call.key, call.value, block_map)
        options = {"scale": call.scale, "key_mask": call.key_mask}
        if not self.config.tail:
            return sparse_attention(*arguments, **options, backend=self.config.backend)  # type: ignore[call-overload, no-any-return]
        out, lse = sparse_attention(*arguments, **options, backend=self.config.backend, return_lse=True)  # type: ignore[call-overload]
        return add_tail(out, lse, *arguments, **options)  # type: ignore[arg-type]


class RecallPolicy(_Base):
    """The cheapest map that holds the promised recall: searched at steps 0, 1, 3, 7, ..., audited before every use,
    searched anew where it would miss.

    The audit comes before the sparse call, so a miss never reaches the output: the heads that miss get a new search, a
    wider one if that misses too, and dense attention at the last.
    """

    #: Of the mass that may be dropped, the share that a fresh map leaves unused, so that it passes its audits for some steps.
    margin = 0.15
    #: How often a call's bound may be wrong in any head, over the four audits that it may take.
    error = 0.01

    def attend(self, call: Call, memory: Memory) -> Outcome:
        config = self.config
        assert config.recall is not None
        if call.progress() < config.dense_steps:
            return Outcome(None, recall=1.0, bound=1.0, why="dense steps")
        if config.recall == 1:
            return Outcome(None, recall=1.0, bound=1.0, why="recall 1 leaves nothing out")
        if memory.block_map is None and call.step < memory.search_at:
            return Outcome(None, recall=1.0, bound=1.0, why="attention too diffuse")
        searched = call.step >= memory.search_at
        if searched:
            memory.search_at, memory.patience = call.step + memory.patience, 2 * memory.patience
        found = self._search(call, config.recall) if searched or memory.block_map is None else memory.block_map
        recall, bound = self._audit(call, found, 0)
        for attempt in (1, 2, 3):
            missed = (~(bound >= config.recall)).any(0)  # NaN is a miss
            if not bool(missed.any()):
                break
            wanted = 1 - (1 - config.recall) / 2 ** (attempt - 1) if attempt < 3 else 1.0
            found, searched = self._refresh(call, found, missed, wanted), True
            recall, bound = self._audit(call, found, attempt)
        if found.density == 1:
            memory.block_map = None
            return Outcome(None, searched=searched, recall=1.0, bound=1.0, why="attention too diffuse")
        memory.block_map = found
        return Outcome(
            self._sparse(call, found), found.density, searched, float(recall.amin()), float(bound.amin()), used=found
        )

    def _rows(self, call: Call) -> int:
        """As many as the promise takes; of a long sequence more, whose audit costs less and whose map may be the
        sparser."""
        assert self.config.recall is not None
        needed = rows_to_show(self.config.recall, self.error / 4 / call.query.shape[:2].numel())
        return self.config.audit_rows or max(needed, math.isqrt(40 * call.query.shape[2]))

    def _search(self, call: Call, recall: float) -> BlockMap:
        aim = recall + self.margin * (1 - recall)
        options = {**self._options(call), "rows": self.config.rows, "audit_rows": self._rows(call)}
        return _full_where_dense(search(call.query, call.key, recall=aim, **options))  # type: ignore[arg-type]

    def _audit(self, call: Call, block_map: BlockMap, attempt: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(recall, its bound) of each head; those that leave nothing out need no look."""
        if self.config.audit == "off":
            assert block_map.recall is not None
            return block_map.recall, torch.ones_like(block_map.recall)
        whole = block_map.whole_heads()
        recall, bound = torch.ones(whole.shape, device=whole.device), torch.ones(whole.shape, device=whole.device)
        heads = (~whole).any(0).nonzero().squeeze(1)
        if len(heads):
            recall[:, heads], bound[:, heads] = audit_map(
                *_heads(call, heads), block_map.of_heads(heads), rows=self._rows(call), scale=call.scale, key_mask=call.key_mask,
                seed=call.seed + 7919 * (attempt + 1), error=self.error / 4,
            )  # fmt: skip
        return recall, bound

    def _refresh(self, call: Call, old: BlockMap, missed: torch.Tensor, recall: float) -> BlockMap:
        """A new map for the heads that missed; the others keep theirs."""
        heads = missed.nonzero().squeeze(1)
        query, key = _heads(call, heads)
        part = replace(call, query=query, key=key, seed=call.seed + 104729)
        mask = old.to_dense()
        mask[:, heads] = self._search(part, recall).to_dense()
        return old.like(mask)


def _heads(call: Call, heads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys of some heads, grouped or not."""
    groups = call.query.shape[1] // call.key.shape[1]
    return call.query[:, heads], call.key[:, heads // groups]


def _full_where_dense(found: BlockMap) -> BlockMap:
    """The map with every head that leaves out too little to gain from it made whole: its recall is 1 then, for less
    time."""
    dense = found.head_density() > DENSE_ABOVE
    if bool((dense == found.whole_heads()).all()):
        return found
    recall = None if found.recall is None else found.recall.masked_fill(dense, 1.0)
    return found.like(found.to_dense() | dense[:, :, None, None], recall)


class AdaSpaPolicy(_Base):
    """AdaSpa (arXiv 2502.21079): dense to the first search step, which also caches the lse; then sparse by its map,
    searched anew with the cached lse at the later search steps; head-adaptive sparsity; nothing is audited. The later
    figures of `search_at` are the shares of the steps before which a search is due."""

    def attend(self, call: Call, memory: Memory) -> Outcome:
        due = sum(call.step >= first for first in self._search_steps(call.steps or 1))
        if due == 0:
            return Outcome(None, recall=1.0, why="before the first search")
        searched = due > memory.searches
        if memory.block_map is None:
            out, memory.lse = attention_with_lse(
                call.query, call.key, call.value, scale=call.scale, key_mask=call.key_mask
            )
            memory.block_map, memory.searches = self._search(call, memory.lse), due
            return Outcome(out, searched=True, recall=1.0, why="first search")
        if searched:
            memory.block_map, memory.searches = self._search(call, memory.lse), due
        recall = memory.block_map.recall
        measured = float(recall.amin()) if searched and recall is not None else None
        return Outcome(
            self._sparse(call, memory.block_map), memory.block_map.density, searched, measured, used=memory.block_map
        )

    def _search_steps(self, steps: int) -> list[int]:
        """Of 50 steps 9 and 30, counted from 0: the first search is in the last dense step, whose lse it caches."""
        warm = max(self.config.search_at[0], self.config.dense_steps)
        first = max(0, round(warm * steps) - 1)
        return [first, *(max(first + 1, round(share * steps)) for share in self.config.search_at[1:])]

    def _search(self, call: Call, lse: torch.Tensor | None) -> BlockMap:
        sparsity = self.config.sparsity
        assert sparsity is not None
        options = {**self._options(call), "rows": self.config.rows}
        return search(call.query, call.key, sparsity=sparsity, lse=lse, head_adaptive=sparsity >= 1 / 3, **options)  # type: ignore[arg-type]


class WindowPolicy(_Base):
    """A fixed band of blocks around each query block, of the stated sparsity: the yardstick that looks at nothing."""

    def attend(self, call: Call, memory: Memory) -> Outcome:
        if call.progress() < self.config.dense_steps:
            return Outcome(None, recall=1.0, why="dense steps")
        if memory.block_map is None:
            memory.block_map = self._band(call)
        return Outcome(self._sparse(call, memory.block_map), memory.block_map.density, used=memory.block_map)

    def _band(self, call: Call) -> BlockMap:
        assert self.config.sparsity is not None
        block = self.config.query_block or default_query_block(call.query.device)
        b, h, length, _ = call.query.shape
        p, q = block_count(length, block), block_count(call.key.shape[2], self.config.key_block)
        centre = (torch.arange(p, device=call.query.device) + 0.5)[:, None] * block
        keys = (torch.arange(q, device=call.query.device) + 0.5) * self.config.key_block
        nearness = (-(keys - centre).abs()).expand(b, h, p, q)
        if call.key_mask is not None:  # blocks of padding alone come last
            nearness = nearness.masked_fill(
                ~visible_blocks(call.key_mask, self.config.key_block)[:, None, None], -torch.inf
            )
        nothing = torch.zeros(b, h, p, q, dtype=torch.bool, device=call.query.device)
        forced = call.forced.apply(nothing, block, self.config.key_block, (length, call.key.shape[2]))
        mask = call.forced.add_beside(top_rows(nearness, self.config.sparsity, forced), self.config.key_block)
        return BlockMap.from_dense(
            mask, query_block=block, key_block=self.config.key_block, length=(length, call.key.shape[2])
        )
