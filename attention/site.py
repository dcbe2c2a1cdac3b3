"""One attention site of a model: from the call that the model makes to the policy's, and what was measured there."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from .blockmap import Forced, visible_blocks
from .config import SparseAttention
from .keepframes import Spans
from .kernels.dense import attention_with_lse
from .kernels.table import Case, choose
from .order import TokenGrid, inverse, permutation
from .policies import Call, Memory, Outcome, Policy, make_policy
from .searching import default_query_block
from .sparse import sparse_attention

_TILE = (4, 4, 4)


@dataclass(frozen=True)
class Moment:
    """Where in a run a call happens. branch: the guidance branch, or the how-manieth model call at this step;
    keep_frames: latent frames that every query sees, ascending."""

    step: int
    steps: int | None
    branch: str
    keep_frames: tuple[int, ...] = ()


@dataclass(frozen=True)
class Record:
    """What one call promised and reached. `exact`: the recall of a full audit, the smallest over heads."""

    site: str
    step: int
    branch: str
    tokens: int
    density: float
    recall: float | None
    bound: float | None
    searched: bool
    why: str | None
    exact: float | None = None


class Site:
    """Self-attention of one module. State is keyed by guidance branch, ordinal of the call, shape, and kept tokens."""

    def __init__(self, name: str, config: SparseAttention) -> None:
        self.name, self._config = name, config
        self._policy: Policy = make_policy(config)
        self._memories: dict[tuple[object, ...], Memory] = {}

    def forget(self) -> None:
        self._memories.clear()

    def attend(
        self,
        moment: Moment,
        ordinal: int,
        grid: TokenGrid | None,
        dense: Callable[[], torch.Tensor],
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
        key_mask: torch.Tensor | None,
        keep: Spans = (),
    ) -> tuple[torch.Tensor, Record]:
        """The call's result, [b, h, l, d] in the model's own order of tokens, and its record. keep: tokens in that
        order that every query sees."""
        if (
            self._config.backend != "auto"
        ):  # a kernel that was named and cannot is an error, even where the call would run dense
            block = self._config.query_block or default_query_block(query.device)
            shape = (query.shape[-1], value.shape[-1], block, self._config.key_block)
            choose(Case(query.device.type, query.dtype, *shape, key_mask is not None), self._config.backend)
        order = self._order(grid, query.device)
        where = (moment.branch, ordinal, tuple(query.shape), tuple(key.shape), query.dtype)
        call = Call(
            _reordered(query, order), _reordered(key, order), _reordered(value, order),
            scale=scale, key_mask=key_mask if key_mask is None or order is None else key_mask[:, order],
            forced=replace(self._forced(grid, value, order), beside=self._kept(keep, query.shape[2], order)),
            step=moment.step, steps=moment.steps,
            seed=zlib.crc32(f"{self.name} {moment.step} {where}".encode()),
        )  # fmt: skip
        outcome = self._policy.attend(call, self._memories.setdefault((*where, keep), Memory()))
        exact = self._exact(call, outcome) if self._config.audit == "full" and outcome.used is not None else None
        out = dense() if outcome.out is None else _reordered(outcome.out, None if order is None else inverse(order))
        return out, self._record(moment, query.shape[2], outcome, exact)

    def refuse(self, moment: Moment, tokens: int, why: str) -> Record:
        """The record of a call that stays dense."""
        return Record(self.name, moment.step, moment.branch, tokens, 1.0, 1.0, 1.0, False, why)

    def _record(self, moment: Moment, tokens: int, outcome: Outcome, exact: float | None) -> Record:
        return Record(
            self.name, moment.step, moment.branch, tokens, outcome.density, outcome.recall, outcome.bound, outcome.searched,
            outcome.why, exact,
        )  # fmt: skip

    def _order(self, grid: TokenGrid | None, device: torch.device) -> torch.Tensor | None:
        if self._config.order != "tile" or grid is None:
            return None
        return permutation(grid, _TILE).to(device)

    def _forced(self, grid: TokenGrid | None, value: torch.Tensor, order: torch.Tensor | None) -> Forced:
        """Text and conditions see everything and are seen by everything; so is the first frame where asked."""
        if grid is None:
            return Forced(columns=_broken(value, self._config.key_block, order))
        ends = tuple(
            span for span in ((0, grid.before), (grid.before + grid.video_tokens, grid.length)) if span[1] > span[0]
        )
        columns = ends
        if self._config.first_frame:
            slab = 1 if order is None else min(_TILE[0], grid.frames)
            columns += ((grid.before, grid.before + slab * grid.height * grid.width),)
        return Forced(rows=ends, columns=columns + _broken(value, self._config.key_block, order))

    def _kept(self, keep: Spans, length: int, order: torch.Tensor | None) -> Spans:
        """Ranges, in the order of tokens that blocks are cut from, of all key blocks that hold one of these tokens."""
        if order is None or not keep:
            return keep
        kept = torch.zeros(length, dtype=torch.bool, device=order.device)
        for start, stop in keep:
            kept[start:stop] = True
        block = self._config.key_block
        touched = visible_blocks(kept[order].unsqueeze(0), block)[0].int()
        edges = torch.nn.functional.pad(touched, (1, 1)).diff()
        starts, stops = (edges == 1).nonzero().squeeze(1).tolist(), (edges == -1).nonzero().squeeze(1).tolist()
        return tuple((start * block, min(stop * block, length)) for start, stop in zip(starts, stops, strict=True))

    def _exact(self, call: Call, outcome: Outcome) -> float:
        """The recall against full dense attention: exp(lse_sparse - lse_full), mean over rows, the worst head."""
        assert outcome.used is not None
        _, full = attention_with_lse(call.query, call.key, call.value, scale=call.scale, key_mask=call.key_mask)
        _, kept = sparse_attention(
            call.query, call.key, call.value, outcome.used, scale=call.scale, key_mask=call.key_mask, return_lse=True
        )
        return float((kept - full).exp().mean(-1).amin())


def _reordered(x: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    return x if order is None else x.index_select(2, order)


def _broken(value: torch.Tensor, block: int, order: torch.Tensor | None) -> tuple[tuple[int, int], ...]:
    """Tokens whose value is NaN or Inf: every row sees them, as in dense attention."""
    if bool(value.isfinite().all()):
        return ()
    bad = (~value.isfinite()).any(-1).any(1).any(0)
    if order is not None:
        bad = bad[order]
    return tuple((i, i + 1) for i in bad.nonzero().squeeze(1).tolist())


def grid_of(length: int, grid: TokenGrid | None) -> TokenGrid | None:
    """The grid of a sequence of `length` tokens: the video's, with text if that adds up, or one frame's; else None."""
    if grid is None:
        return None
    if grid.length == length:
        return grid
    frame = replace(grid, frames=1, before=0, after=0)
    return frame if frame.length == length else None
