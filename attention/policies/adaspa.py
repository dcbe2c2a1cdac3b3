"""AdaSpa policy (arXiv 2502.21079): block-sparse attention at a fixed sparsity, searched at fixed steps.

Dense up to the first search step, which also caches the log-sum-exp; then sparse by the map found there, searched again
with the cached log-sum-exp at the later search steps. Head-adaptive sparsity (section 4); nothing is audited.

An improvement on the paper, which takes the cached log-sum-exp as it is: each row of masses is divided by its sum,
which repairs a log-sum-exp that has become stale (`mass.row_mass`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from videogen.attention.blockmap import BlockMap
from videogen.attention.kernels.dense import attention_with_lse
from videogen.attention.searching import search

from .base import AttentionCall, AttentionOutcome, AttentionPolicy, PolicyState


@dataclass(frozen=True)
class AdaSpaState(PolicyState):
    """lse: of the dense pass at the first search, fp32 [b, h, l]; searches: how many of the search steps are done."""

    lse: torch.Tensor | None = None
    searches: int = 0


class AdaSpaPolicy(AttentionPolicy[AdaSpaState]):
    """AdaSpa. Each value of `search_at` is the fraction of steps that end with a search: the paper counts from 1."""

    def initial_state(self) -> AdaSpaState:
        return AdaSpaState()

    def outcome_without_tensors(self, step: int, steps: int | None, state: AdaSpaState) -> AttentionOutcome | None:
        if self._due_searches(step, steps) == 0:
            return AttentionOutcome(None, recall=1.0, why="before the first search")
        return None

    def attend(self, call: AttentionCall, state: AdaSpaState) -> tuple[AttentionOutcome, AdaSpaState]:
        dense = self.outcome_without_tensors(call.step, call.steps, state)
        if dense is not None:
            return dense, state
        due = self._due_searches(call.step, call.steps)
        if state.block_map is None:
            out, lse = attention_with_lse(call.query, call.key, call.value, scale=call.scale, key_mask=call.key_mask)
            outcome = AttentionOutcome(out, searched=True, recall=1.0, why="first search")
            return outcome, AdaSpaState(self._search(call, lse), lse, due)
        searched = due > state.searches
        block_map = self._search(call, state.lse) if searched else state.block_map
        measured = float(block_map.recall.amin()) if searched and block_map.recall is not None else None
        out = self.sparse(call, block_map)
        outcome = AttentionOutcome(out, block_map.density, searched, measured, block_map=block_map)
        return outcome, replace(state, block_map=block_map, searches=due if searched else state.searches)

    def search_steps(self, steps: int) -> list[int]:
        """Of 50 steps the 10th, the last dense one, whose lse is cached, and the 30th: 9 and 29, counted from 0."""
        warm = max(self.config.search_at[0], self.config.dense_steps)
        first = max(0, round(warm * steps) - 1)
        return [first, *(max(first + 1, round(fraction * steps) - 1) for fraction in self.config.search_at[1:])]

    def _due_searches(self, step: int, steps: int | None) -> int:
        return sum(step >= first for first in self.search_steps(steps or 1))

    def _search(self, call: AttentionCall, lse: torch.Tensor | None) -> BlockMap:
        options = {**self.search_options(call), "rows": self.config.rows, "lse": lse}
        return search(call.query, call.key, sparsity=self.target, head_adaptive=self.target >= 1 / 3, **options)
