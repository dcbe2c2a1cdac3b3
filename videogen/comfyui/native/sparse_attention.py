"""Sparse attention on ComfyUI's native models, through the override of attention that each call looks up.

The override stands above those of other node packs: what it declines goes to the one that it found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from videogen.attention import AttentionRun, SparseAttention, padding_mask
from videogen.schedulers import step_at

from ..hooks.attention_call import AttentionCall
from ..hooks.attention_override import AttentionOverride
from ..hooks.branches import BranchNames
from ..hooks.denoiser_grids import TokenLayout, find_layout
from ..hooks.model_runs import APPLY_MODEL, DIFFUSION_MODEL, RunContext, Wrapper, find_options
from .branch_tables import tabulate_attention

KEY = "videogen_sparse_attention"


@dataclass
class _Forward:
    """One call of the denoiser. given: its keywords; calls: of self-attention of the video so far."""

    step: int
    branches: tuple[str, ...]
    layout: TokenLayout | None
    given: dict[str, Any]
    calls: int = field(default=0)

    def exact_tokens(self, queries: int, keys: int) -> tuple[int, int] | None:
        """Tokens before and behind the video's; None for a call that is not self-attention of the video."""
        return None if self.layout is None or queries != keys else self.layout.exact_tokens(queries)


class SparseAttentionRun:
    """State of one sampling run. Implements `model_runs.ModelRun`."""

    def __init__(self, context: RunContext, config: SparseAttention) -> None:
        self._sigmas, self._min_tokens = context.sigmas, config.min_length
        self._attention = AttentionRun(config, steps=max(1, len(context.sigmas) - 1))
        self._branches = BranchNames()
        self._forward: _Forward | None = None
        self._override = AttentionOverride(self._attend, approximate=True)

    def wrappers(self) -> Mapping[str, Wrapper]:
        return {APPLY_MODEL: self._call_model, DIFFUSION_MODEL: self._call_denoiser}

    def report(self) -> dict[str, Any]:
        """As `AttentionRun.report`, with a table by branch, and another pack's override, which computed the calls that
        ran dense."""
        found = self._attention.report()
        found["branches"] = tabulate_attention(self._attention.records, found["steps"])
        return found | {"below": self._override.found} if self._override.found else found

    def close(self) -> None:
        self._attention.forget()
        self._forward = None

    def _call_model(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """A call of ComfyUI's model: all that some denoisers, such as Mochi's, let a pack wrap."""
        options = find_options(args, kwargs)
        with self._within(executor.class_obj.diffusion_model, args[0], options, kwargs):
            return executor(*args, **kwargs)

    def _call_denoiser(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = find_options(args, kwargs)
        with self._within(executor.class_obj, args[0], options, kwargs):
            return executor(*args, **kwargs)

    @contextmanager
    def _within(self, denoiser: Any, latents: Any, options: dict[str, Any], given: dict[str, Any]) -> Iterator[None]:
        """given: keywords of the call."""
        step = step_at(self._sigmas, float(options["sigmas"].flatten()[0]))
        before = self._forward
        known = given if before is None else {**before.given, **given}
        layout = find_layout(denoiser, latents, known)
        self._forward = _Forward(step, self._branches.name(options), layout, known)
        try:
            with self._override.installed(options):
                yield
        finally:
            self._forward = before

    def _attend(
        self, func: Callable[..., Any], q: Any, k: Any, v: Any, heads: int, mask: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        call, forward = AttentionCall.read(q, k, v, heads, mask, *args, **kwargs), self._forward
        queries, keys = call.query.shape[2], call.key.shape[2]
        exact = None if forward is None else forward.exact_tokens(queries, keys)
        if forward is None or forward.layout is None or exact is None:
            return func(q, k, v, heads, mask, *args, **kwargs)
        layer, forward.calls = f"attention {forward.calls}", forward.calls + 1
        if queries < self._min_tokens:
            for branch in forward.branches:
                why = f"{queries} tokens are fewer than min_tokens={self._min_tokens}"
                self._attention.refuse(layer, branch, forward.step, queries, why)
            return func(q, k, v, heads, mask, *args, **kwargs)
        if why := _why_declined(call, forward.branches):
            self._attention.refuse(layer, forward.branches[0], forward.step, queries, why)
            return func(q, k, v, heads, mask, *args, **kwargs)

        def dense(part: slice) -> torch.Tensor:
            one = mask if mask is None or mask.ndim < 3 or mask.shape[0] == 1 else mask[part]
            return call.result_as_heads(func(q[part], k[part], v[part], heads, one, *args, **kwargs))

        found = self._attention.attend_batch(
            layer, forward.branches, forward.step, forward.layout.grid, call.query, call.key, call.value, dense,
            mask=_read_mask(call.mask), scale=call.scale, exact_tokens=exact,
        )  # fmt: skip
        return call.result_as_given(found)


def _why_declined(call: AttentionCall, branches: tuple[str, ...]) -> str:
    batch, mask = call.query.shape[0], call.mask
    if batch % len(branches):
        return f"a batch of {batch} for {len(branches)} conditions"
    if mask is not None and not mask.is_floating_point() and mask.dtype != torch.bool:
        return f"a mask of {mask.dtype}"
    return ""


def _read_mask(mask: torch.Tensor | None) -> torch.Tensor | None:
    """ComfyUI's mask, bool or additive, as one of `scaled_dot_product_attention`."""
    found = None if mask is None or not mask.is_floating_point() else padding_mask(mask)
    return mask if found is None else found
