"""Sparse attention of one run, without a model: the host makes the calls, and this decides which blocks they attend to.

    run = AttentionRun(SparseAttention(recall=0.95), steps=20)
    out = run.attend("block 3", "cond", step, grid, query, key, value)
    if out is DENSE:
        out = attention_of_the_host(query, key, value)

A host is any program that calls attention: diffusers (`attaching`), another inference engine, a loop of your own. It
names the layer, the guidance branch and the step of each call; all state belongs to this object.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from videogen.core.errors import InputError

from .attention_layer import AttentionLayer, CallRecord, LayerCall, StepContext
from .config import SparseAttention
from .dense_result import DENSE, Dense
from .layout import as_key_mask, sequence_layout
from .order import TokenGrid
from .policies.base import PolicyState
from .report import summarize
from .run_checks import check_steps, read_config, why_dense, why_exact
from .visible_frames import Spans

_log = logging.getLogger("videogen.attention")


@dataclass(frozen=True)
class AttentionRunSnapshot:
    """The state of a run between two steps: its records, and each layer's policy states, by reference."""

    records: tuple[CallRecord, ...]
    states: Mapping[str, Mapping[tuple[object, ...], PolicyState]]


class AttentionRun:
    """The self-attention of one sampling run. Not shared between runs.

    config: a configuration, a spec such as `adaptive:0.9`, or None for the default. steps: of the run; needed if the
    configuration depends on fractions of them. records: of all calls, in their order. Raises InputError.
    """

    def __init__(self, config: SparseAttention | str | None = None, *, steps: int | None = None) -> None:
        self.config = read_config(config)
        self.steps = check_steps(steps)
        self.records: list[CallRecord] = []
        self._layers: dict[str, AttentionLayer] = {}
        self._logged: set[str] = set()

    def attend(
        self,
        layer: str,
        branch: str,
        step: int,
        grid: TokenGrid | None,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float | None = None,
        mask: torch.Tensor | None = None,
        exact_tokens: tuple[int, int] = (0, 0),
        visible_tokens: Spans = (),
        ordinal: int = 0,
    ) -> torch.Tensor | Dense:
        """The result of one call of self-attention, [b, h, l, dv]; or `DENSE`, if the host is to run the call itself.

        layer, branch: names that are the same at each step. What is remembered belongs to both, and to the shapes, the
        grid and the visible tokens; windows are separate branches. They also determine the sampled rows, so a run can
        be repeated if its names can. step: from 0. grid: where the video's tokens lie; None: unknown. query [b, h, l,
        d]; key [b, g, l, d] and value [b, g, l, dv], with h a multiple of g. mask: bool, False for padding, [b, l] or
        any mask of `scaled_dot_product_attention` with 4 axes; one that is more than key padding makes the call dense.
        exact_tokens: how many tokens before the video's and after them (text, sound, reference images) attend to all
        and are attended to by all. visible_tokens: ranges that every query sees. ordinal: number of the call among
        those of the layer in one forward pass. Raises InputError; UnsupportedError for a named backend that does not
        fit.
        """
        length = query.shape[2]
        if why := why_dense(self.config, query, key, value, mask) or why_exact(exact_tokens, length):
            return self.refuse(layer, branch, step, length, why)
        if self.steps is None and self.config.needs_steps:
            raise InputError(
                f"policy={self.config.policy!r} with dense_steps={self.config.dense_steps} depends on fractions of the "
                "steps; give AttentionRun(..., steps=N)"
            )
        found = sequence_layout(grid, length, *exact_tokens)
        key_mask = mask if mask is None or mask.ndim == 2 else as_key_mask(mask, query, key)
        call = LayerCall(query, key, value, scale, key_mask, found, ordinal, visible_tokens)
        out, record = self.layer(layer).attend(StepContext(step, self.steps, branch), call)
        self._note(record)
        return out

    def attend_batch(
        self,
        layer: str,
        branches: Sequence[str],
        step: int,
        grid: TokenGrid | None,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        dense: Callable[[slice], torch.Tensor],
        *,
        mask: torch.Tensor | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """`attend` for a batch of several branches, of equally many samples each, in this order: [b, h, l, dv].

        A branch is decided without the others, whether it comes with them or in a call of its own. dense: the host's
        attention for these samples of the batch; it is called once, for all of them, if no branch becomes sparse.
        options: as for `attend`.
        """
        batch = query.shape[0]
        if not branches or batch % len(branches):
            raise InputError(f"a batch of {batch} cannot be divided among {len(branches)} branches: {list(branches)}")
        size = batch // len(branches)
        parts = [slice(at, at + size) for at in range(0, batch, size)]
        found = [
            self.attend(
                layer, branch, step, grid, query[part], key[part], value[part],
                mask=mask if mask is None or mask.shape[0] != batch else mask[part], **options,
            )
            for branch, part in zip(branches, parts, strict=True)
        ]  # fmt: skip
        if all(out is DENSE for out in found):
            return dense(slice(0, batch))
        return torch.cat([dense(part) if out is DENSE else out for out, part in zip(found, parts, strict=True)])

    def refuse(self, layer: str, branch: str, step: int, tokens: int, reason: str) -> Dense:
        """Record a call of self-attention that the host cannot give to `attend`: it is part of the report all the same.
        Returns `DENSE`."""
        context = StepContext(step, self.steps, branch)
        self._note(self.layer(layer).refuse(context, tokens, reason))
        return DENSE

    def report(self, untouched: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What was promised and reached, by layer and step, for a manifest (`report.summarize`). untouched: layers that
        are not self-attention of the video, each with the reason."""
        return summarize(self.config, self.records, untouched or {})

    def layer(self, name: str) -> AttentionLayer:
        """The layer of this name, which its first use makes."""
        if name not in self._layers:
            self._layers[name] = AttentionLayer(name, self.config)
        return self._layers[name]

    def forget(self, layer: str | None = None, branch: str | None = None) -> None:
        """Drop the block maps of one layer or branch, or of all: the next call searches. Records stay."""
        for name, one in self._layers.items():
            if layer in (None, name):
                one.forget(branch)

    def reset(self) -> None:
        """Drop all block maps and records: the next call begins a new run."""
        self.forget()
        self.records.clear()

    def snapshot(self) -> AttentionRunSnapshot:
        """All that the next step depends on, for `restore`. Costs no copy of a tensor: states never change in place."""
        return AttentionRunSnapshot(tuple(self.records), {name: layer.states for name, layer in self._layers.items()})

    def restore(self, snapshot: AttentionRunSnapshot) -> None:
        """Go back to a snapshot of this run, records included; it can be restored again."""
        self.records[:] = snapshot.records
        for name, layer in self._layers.items():
            layer.states = snapshot.states.get(name, {})

    def _note(self, record: CallRecord) -> None:
        """Store a record; a reason to stay dense is logged once."""
        self.records.append(record)
        if record.why and record.why not in self._logged:
            self._logged.add(record.why)
            _log.info("%s stays dense at step %d: %s", record.layer, record.step, record.why)
