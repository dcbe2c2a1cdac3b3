"""One attention layer of a model: from the call that the model makes to the policy's, and what was measured there."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from .blockmap import Forced, visible_blocks
from .config import SparseAttention
from .dense_result import DENSE, Dense
from .kernels.dense import attention_with_lse
from .kernels.table import AUTO, Case, choose
from .order import TokenGrid, inverse, permutation
from .policies.base import AttentionCall, AttentionOutcome, PolicyState, build_policy
from .searching import default_query_block
from .sparse import sparse_attention
from .visible_frames import Spans

_TILE = (4, 4, 4)


@dataclass(frozen=True)
class StepContext:
    """Where in a run a call happens. branch: the guidance branch, or the number of the model call within this step."""

    step: int
    steps: int | None
    branch: str


@dataclass(frozen=True)
class LayerCall:
    """One call of self-attention as the model makes it, in the model's token order.

    query [b, h, l, d], key and value [b, g, l, d], key_mask bool [b, l]. ordinal: its number within this forward pass
    of the layer. grid: where the video's tokens lie, None if unknown. visible: tokens that every query sees.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scale: float | None = None
    key_mask: torch.Tensor | None = None
    grid: TokenGrid | None = None
    ordinal: int = 0
    visible: Spans = ()


@dataclass(frozen=True)
class CallRecord:
    """What one call promised and reached. exact: the recall of a full audit, the smallest over heads. rows_below_half:
    the fraction of audited rows that retains under half of its mass, the largest over heads."""

    layer: str
    step: int
    branch: str
    tokens: int
    density: float
    recall: float | None
    bound: float | None
    searched: bool
    why: str | None
    exact: float | None = None
    rows_below_half: float | None = None


class AttentionLayer:
    """Self-attention of one module. Its states, one per guidance branch, ordinal of the call, shape, visible tokens and
    grid, are never changed in place."""

    def __init__(self, name: str, config: SparseAttention) -> None:
        self.name, self._config = name, config
        self._policy = build_policy(config)
        self.states: Mapping[tuple[object, ...], PolicyState] = {}

    def attend(self, context: StepContext, call: LayerCall) -> tuple[torch.Tensor | Dense, CallRecord]:
        """The call's result, [b, h, l, d] in the model's token order or `DENSE`, and its record."""
        self._check_backend(call)
        key = (context.branch, call.ordinal, tuple(call.query.shape), tuple(call.key.shape), call.query.dtype)
        address = (*key, call.visible, call.grid)
        before = self.states.get(address)
        state = self._policy.initial_state() if before is None else before
        dense = self._policy.outcome_without_tensors(context.step, context.steps, state)
        if dense is not None:
            self.states = {**self.states, address: state}
            return DENSE, self._record(context, call.query.shape[2], dense, None, dense.rows_below_half)
        order = self._order(call.grid, call.query.device)
        forced = self._forced(call.grid, call.value, order)
        policy_call = AttentionCall(
            _reorder(call.query, order), _reorder(call.key, order), _reorder(call.value, order),
            scale=call.scale, key_mask=_reorder_mask(call.key_mask, order),
            forced=replace(forced, extra=self._visible(call.visible, call.query.shape[2], order)),
            step=context.step, steps=context.steps,
            seed=zlib.crc32(f"{self.name} {context.step} {key}".encode()),
        )  # fmt: skip
        outcome, state = self._policy.attend(policy_call, state)
        self.states = {**self.states, address: state}
        exact, below_half = None, outcome.rows_below_half
        if self._config.audit == "full" and outcome.block_map is not None:
            exact, below_half = _exact_recall(policy_call, outcome)
        back = None if order is None else inverse(order)
        out = DENSE if outcome.out is None else _reorder(outcome.out, back)
        return out, self._record(context, call.query.shape[2], outcome, exact, below_half)

    def refuse(self, context: StepContext, tokens: int, why: str) -> CallRecord:
        """The record of a call that stays dense."""
        return CallRecord(self.name, context.step, context.branch, tokens, 1.0, 1.0, 1.0, False, why)

    def forget(self, branch: str | None = None) -> None:
        """Drop the states of one branch, or of all."""
        self.states = {} if branch is None else {key: s for key, s in self.states.items() if key[0] != branch}

    def _record(
        self, context: StepContext, tokens: int, outcome: AttentionOutcome, exact: float | None, below: float | None
    ) -> CallRecord:
        return CallRecord(
            self.name, context.step, context.branch, tokens, outcome.density, outcome.recall, outcome.bound,
            outcome.searched, outcome.why, exact, below,
        )  # fmt: skip

    def _check_backend(self, call: LayerCall) -> None:
        """A named kernel that cannot take the call is an error, even where the call would run dense."""
        if self._config.backend == AUTO:
            return
        block = self._config.query_block or default_query_block(call.query.device)
        shape = (call.query.shape[-1], call.value.shape[-1], block, self._config.key_block)
        case = Case(call.query.device.type, call.query.dtype, *shape, call.key_mask is not None)
        choose(case, self._config.backend)

    def _order(self, grid: TokenGrid | None, device: torch.device) -> torch.Tensor | None:
        if self._config.order != "tile" or grid is None:
            return None
        return permutation(grid, _TILE).to(device)

    def _forced(self, grid: TokenGrid | None, value: torch.Tensor, order: torch.Tensor | None) -> Forced:
        """Text and conditions attend to all tokens and are attended to by all; so is the first frame if requested."""
        not_finite = _not_finite(value, order)
        if grid is None:
            return Forced(columns=not_finite)
        ends = tuple(
            span for span in ((0, grid.before), (grid.before + grid.video_tokens, grid.length)) if span[1] > span[0]
        )
        columns = ends
        if self._config.first_frame:
            slab = 1 if order is None else min(_TILE[0], grid.frames)
            columns += ((grid.before, grid.before + slab * grid.height * grid.width),)
        return Forced(rows=ends, columns=columns + not_finite)

    def _visible(self, visible: Spans, length: int, order: torch.Tensor | None) -> Spans:
        """Ranges, in the token order that blocks are cut from, of all key blocks that have one of these tokens."""
        if order is None or not visible:
            return visible
        mask = torch.zeros(length, dtype=torch.bool, device=order.device)
        for start, stop in visible:
            mask[start:stop] = True
        block = self._config.key_block
        touched = visible_blocks(mask[order].unsqueeze(0), block)[0].int()
        edges = torch.nn.functional.pad(touched, (1, 1)).diff()
        starts, stops = (edges == 1).nonzero().squeeze(1).tolist(), (edges == -1).nonzero().squeeze(1).tolist()
        return tuple((start * block, min(stop * block, length)) for start, stop in zip(starts, stops, strict=True))


def _exact_recall(call: AttentionCall, outcome: AttentionOutcome) -> tuple[float, float]:
    """The recall against full dense attention, exp(lse_sparse - lse_full): (its mean over rows, the fraction of rows
    below a half), each of the worst head."""
    assert outcome.block_map is not None
    _, full = attention_with_lse(call.query, call.key, call.value, scale=call.scale, key_mask=call.key_mask)
    _, retained = sparse_attention(
        call.query, call.key, call.value, outcome.block_map, scale=call.scale, key_mask=call.key_mask, return_lse=True
    )
    recall = (retained - full).exp()
    return float(recall.mean(-1).amin()), float((recall < 0.5).float().mean(-1).amax())


def _reorder(x: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    return x if order is None else x.index_select(2, order)


def _reorder_mask(mask: torch.Tensor | None, order: torch.Tensor | None) -> torch.Tensor | None:
    return mask if mask is None or order is None else mask[:, order]


def _not_finite(value: torch.Tensor, order: torch.Tensor | None) -> Spans:
    """Tokens whose value is NaN or Inf: every row sees them, as in dense attention."""
    wide = torch.promote_types(value.dtype, torch.float32)
    if bool(value.sum(dtype=wide).isfinite()) or bool(value.isfinite().all()):  # a finite sum has finite terms
        return ()
    bad = (~value.isfinite()).any(-1).any(1).any(0)
    if order is not None:
        bad = bad[order]
    return tuple((i, i + 1) for i in bad.nonzero().squeeze(1).tolist())
