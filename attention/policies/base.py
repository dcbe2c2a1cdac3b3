"""Contract of an attention policy: one attention call in, its result and what was measured out.

A policy object has no state. What one attention layer remembers between steps is a `PolicyState`, which `attend` takes
and returns, so that a run can be continued from any earlier step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import torch

from videogen.attention.blockmap import BlockMap, Forced, block_count
from videogen.attention.config import SparseAttention
from videogen.attention.searching import default_query_block
from videogen.attention.sparse import sparse_attention
from videogen.attention.tail import add_tail

from .table import policy_row


@dataclass(frozen=True)
class AttentionCall:
    """One attention call. query [b, h, l, d], key and value [b, g, l, d], in the token order that blocks are cut from.

    step counts from 0; steps: of the entire run, None if unknown; seed: of the sampled rows.
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

    @property
    def progress(self) -> float:
        """See `run_progress`."""
        return run_progress(self.step, self.steps)


def run_progress(step: int, steps: int | None) -> float:
    """The fraction of the steps before this one; where their number is unknown, 0 at the first step and 1 later."""
    return step / steps if steps else (0.0 if step == 0 else 1.0)


@dataclass(frozen=True)
class AttentionOutcome:
    """The result of a call (None: run it dense, as it was) and what was measured.

    recall: the smallest over heads; bound: its lower bound. rows_below_half: of the audited rows, the fraction that
    retains under half of its mass, the largest over heads. why: the reason where a call ran dense. block_map: the map
    that was used, None where the call ran dense.
    """

    out: torch.Tensor | None
    density: float = 1.0
    searched: bool = False
    recall: float | None = None
    bound: float | None = None
    rows_below_half: float | None = None
    why: str | None = None
    block_map: BlockMap | None = field(default=None, repr=False)


@dataclass(frozen=True)
class PolicyState:
    """What one attention layer remembers of one guidance branch. Never changed in place, nor are its tensors."""

    block_map: BlockMap | None = None


S = TypeVar("S", bound=PolicyState)


class AttentionPolicy(ABC, Generic[S]):
    """Decides for each call whether it runs dense, searches, or uses the map that is there."""

    def __init__(self, config: SparseAttention) -> None:
        self.config = config

    @abstractmethod
    def initial_state(self) -> S:
        """The state before the first call."""

    @abstractmethod
    def attend(self, call: AttentionCall, state: S) -> tuple[AttentionOutcome, S]:
        """The call's outcome, and the state for the next call of the same layer and branch."""

    def outcome_without_tensors(self, step: int, steps: int | None, state: S) -> AttentionOutcome | None:
        """The outcome of a call that runs dense whatever its tensors, with the state as it is; None: `attend` decides.

        Spares such a call the work on its tensors that every policy needs.
        """
        return None

    @property
    def target(self) -> float:
        """The recall or sparsity that the configuration states, whichever the policy's row names."""
        (value,) = self.config.target.values()
        return value

    def query_block(self, call: AttentionCall) -> int:
        """Query tokens per block."""
        return self.config.query_block or default_query_block(call.query.device)

    def search_options(self, call: AttentionCall) -> dict[str, Any]:
        """The arguments that all searches and audits of this call have in common."""
        return {
            "query_block": self.query_block(call), "key_block": self.config.key_block, "forced": call.forced,
            "scale": call.scale, "key_mask": call.key_mask, "seed": call.seed,
        }  # fmt: skip

    def sparse(self, call: AttentionCall, block_map: BlockMap) -> torch.Tensor:
        """Attention within the map, [b, h, l, d], with the tail if the configuration asks for it."""
        tensors = (call.query, call.key, call.value, block_map)
        scale, key_mask, backend = call.scale, call.key_mask, self.config.backend
        if not self.config.tail:
            return sparse_attention(*tensors, scale=scale, key_mask=key_mask, backend=backend)
        out, lse = sparse_attention(*tensors, scale=scale, key_mask=key_mask, backend=backend, return_lse=True)
        return add_tail(out, lse, *tensors, scale=scale, key_mask=key_mask)


class FixedMapPolicy(AttentionPolicy[PolicyState]):
    """Base of policies whose map depends on shapes and masks alone: built at the first sparse step, then reused."""

    @abstractmethod
    def build_mask(self, call: AttentionCall) -> torch.Tensor:
        """Which blocks calls of this shape attend to, bool [b, h, p, q] as `mask_shape` gives it. Blocks that the call
        forces need not be in it. Every row needs a block, and one that is not all padding."""

    def mask_shape(self, call: AttentionCall) -> tuple[int, int, int, int]:
        """(batch, query heads, query blocks, key blocks)."""
        b, h, length, _ = call.query.shape
        return b, h, block_count(length, self.query_block(call)), block_count(call.key.shape[2], self.config.key_block)

    def initial_state(self) -> PolicyState:
        return PolicyState()

    def outcome_without_tensors(self, step: int, steps: int | None, state: PolicyState) -> AttentionOutcome | None:
        if run_progress(step, steps) < self.config.dense_steps:
            return AttentionOutcome(None, recall=1.0, why="dense steps")
        return None

    def attend(self, call: AttentionCall, state: PolicyState) -> tuple[AttentionOutcome, PolicyState]:
        dense = self.outcome_without_tensors(call.step, call.steps, state)
        if dense is not None:
            return dense, state
        block_map = self._build_map(call) if state.block_map is None else state.block_map
        outcome = AttentionOutcome(self.sparse(call, block_map), block_map.density, block_map=block_map)
        return outcome, replace(state, block_map=block_map)

    def _build_map(self, call: AttentionCall) -> BlockMap:
        block, key_block = self.query_block(call), self.config.key_block
        length = (call.query.shape[2], call.key.shape[2])
        mask = call.forced.apply(self.build_mask(call), block, key_block, length)
        mask = call.forced.add_extra(mask, key_block)
        return BlockMap.from_dense(mask, query_block=block, key_block=key_block, length=length)


def build_policy(config: SparseAttention) -> AttentionPolicy[Any]:
    """The policy that a configuration names."""
    return policy_row(config.policy).load()(config)
