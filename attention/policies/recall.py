"""Recall policy: adaptive block-sparse attention that keeps a target recall in every head.

The map is audited on random rows before every use, so a miss never reaches the output: the heads that miss are searched
again, then with a higher target, and finally run dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from videogen.attention.blockmap import BlockMap
from videogen.attention.confidence import rows_to_show
from videogen.attention.searching import recall_bound, retained_rows, search

from .base import AttentionCall, AttentionOutcome, AttentionPolicy, PolicyState, run_progress

#: Above this density of a head, a gather or a list walk costs more than dense attention saves.
DENSE_ABOVE = 0.85


@dataclass(frozen=True)
class RecallState(PolicyState):
    """search_at: the step from which another search is due; patience: steps until the one after it, which doubles."""

    search_at: int = 0
    patience: int = 1


@dataclass(frozen=True)
class MapAudit:
    """What an audit found in each head, [b, h]: the mean recall of its rows, the bound of it, and the fraction of its
    rows that retains under half of its mass."""

    recall: torch.Tensor
    bound: torch.Tensor
    below_half: torch.Tensor


class RecallPolicy(AttentionPolicy[RecallState]):
    """The cheapest map that keeps the target recall: searched at steps 0, 1, 3, 7, ..., audited before every use,
    searched again where it would miss."""

    #: Of the mass that may be dropped, the fraction that a fresh map leaves unused, so that it passes its audits for
    #: some steps.
    margin = 0.15
    #: How often a call's bound may be wrong in any head, over the four audits that it may take.
    error = 0.01

    def initial_state(self) -> RecallState:
        return RecallState()

    def outcome_without_tensors(self, step: int, steps: int | None, state: RecallState) -> AttentionOutcome | None:
        if run_progress(step, steps) < self.config.dense_steps:
            return _dense("dense steps")
        if self.target == 1:
            return _dense("recall 1 leaves nothing out")
        if state.block_map is None and step < state.search_at:
            return _dense("attention too diffuse")
        return None

    def attend(self, call: AttentionCall, state: RecallState) -> tuple[AttentionOutcome, RecallState]:
        dense = self.outcome_without_tensors(call.step, call.steps, state)
        if dense is not None:
            return dense, state
        due = call.step >= state.search_at
        if due:
            state = replace(state, search_at=call.step + state.patience, patience=2 * state.patience)
        found = self._search(call, self.target) if due or state.block_map is None else state.block_map
        found, audit, refreshed = self._audited(call, found)
        searched = due or refreshed
        if found.density == 1:
            return _dense("attention too diffuse", searched), replace(state, block_map=None)
        out = self.sparse(call, found)
        outcome = AttentionOutcome(
            out, found.density, searched, float(audit.recall.amin()), float(audit.bound.amin()),
            float(audit.below_half.amax()), block_map=found,
        )  # fmt: skip
        return outcome, replace(state, block_map=found)

    def _audited(self, call: AttentionCall, found: BlockMap) -> tuple[BlockMap, MapAudit, bool]:
        """(a map that passes its audit, the audit, whether a search was needed)."""
        refreshed = False
        audit = self._audit(call, found, 0)
        for attempt in (1, 2, 3):
            missed = (~(audit.bound >= self.target)).any(0)  # NaN is a miss
            if not bool(missed.any()):
                break
            wider = 1 - (1 - self.target) / 2 ** (attempt - 1) if attempt < 3 else 1.0
            found, refreshed = self._refresh(call, found, missed, wider), True
            audit = self._audit(call, found, attempt)
        return found, audit, refreshed

    def _audit_rows(self, call: AttentionCall) -> int:
        """As many rows as the promise takes. A long sequence gets more: their audit costs relatively less, and a
        tighter bound allows a sparser map."""
        needed = rows_to_show(self.target, self.error / 4 / call.query.shape[:2].numel())
        return self.config.audit_rows or max(needed, math.isqrt(40 * call.query.shape[2]))

    def _search(self, call: AttentionCall, recall: float) -> BlockMap:
        target = recall + self.margin * (1 - recall)
        options = {**self.search_options(call), "rows": self.config.rows, "audit_rows": self._audit_rows(call)}
        return _full_where_dense(search(call.query, call.key, recall=target, **options))

    def _audit(self, call: AttentionCall, block_map: BlockMap, attempt: int) -> MapAudit:
        """The audit of each head; heads that leave nothing out need none."""
        if self.config.audit == "off":
            assert block_map.recall is not None
            nothing = torch.zeros_like(block_map.recall)
            return MapAudit(block_map.recall, torch.ones_like(block_map.recall), nothing)
        full = block_map.full_heads()
        ones = torch.ones(full.shape, device=full.device)
        audit = MapAudit(ones, ones.clone(), torch.zeros_like(ones))
        heads = (~full).any(0).nonzero().squeeze(1)
        if len(heads):
            retained, all_rows = retained_rows(
                *_select_heads(call, heads), block_map.select_heads(heads), rows=self._audit_rows(call),
                scale=call.scale, key_mask=call.key_mask, seed=call.seed + 7919 * (attempt + 1),
            )  # fmt: skip
            audit.recall[:, heads] = retained.mean(-1)
            audit.bound[:, heads] = recall_bound(retained, all_rows, self.error / 4)
            audit.below_half[:, heads] = (retained < 0.5).float().mean(-1)
        return audit

    def _refresh(self, call: AttentionCall, old: BlockMap, missed: torch.Tensor, recall: float) -> BlockMap:
        """A new map for the heads that missed; the others retain theirs."""
        heads = missed.nonzero().squeeze(1)
        query, key = _select_heads(call, heads)
        part = replace(call, query=query, key=key, seed=call.seed + 104729)
        mask = old.to_dense()
        mask[:, heads] = self._search(part, recall).to_dense()
        return old.with_mask(mask)


def _dense(why: str, searched: bool = False) -> AttentionOutcome:
    return AttentionOutcome(None, searched=searched, recall=1.0, bound=1.0, why=why)


def _select_heads(call: AttentionCall, heads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys of some heads, grouped or not."""
    groups = call.query.shape[1] // call.key.shape[1]
    return call.query[:, heads], call.key[:, heads // groups]


def _full_where_dense(found: BlockMap) -> BlockMap:
    """The map with every head that leaves out too little to gain from it made full: its recall is 1 then, for less
    time."""
    dense = found.head_density() > DENSE_ABOVE
    if bool((dense == found.full_heads()).all()):
        return found
    recall = None if found.recall is None else found.recall.masked_fill(dense, 1.0)
    return found.with_mask(found.to_dense() | dense[:, :, None, None], recall)
