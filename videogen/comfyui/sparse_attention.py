"""Sparse attention on ComfyUI's native models, through the override of attention that each call looks up.

The override stands above those of other node packs: what it declines goes to the one that it found. It is set again
before each evaluation, as other packs may set theirs when sampling has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from videogen.attention import AttentionRun, SparseAttention, TokenGrid, padding_mask
from videogen.schedulers import step_at

from .branches import BranchNames
from .denoiser_grids import count_exact_tokens, find_grid
from .model_runs import CALC_COND_BATCH, DIFFUSION_MODEL, RunContext, Wrapper, find_options

KEY = "videogen_sparse_attention"
_OVERRIDE = "optimized_attention_override"


@dataclass
class _Forward:
    """One call of the denoiser. calls: of self-attention of the video so far."""

    step: int
    branches: tuple[str, ...]
    grid: TokenGrid | None
    denoiser: Any
    options: dict[str, Any]
    calls: int = field(default=0)


class SparseAttentionRun:
    """State of one sampling run. Implements `model_runs.ModelRun`."""

    def __init__(self, context: RunContext, config: SparseAttention) -> None:
        self._sigmas = context.sigmas
        self._attention = AttentionRun(config, steps=max(1, len(context.sigmas) - 1))
        self._branches = BranchNames()
        self._forward: _Forward | None = None
        self._previous: Callable[..., Any] | None = None

    def wrappers(self) -> Mapping[str, Wrapper]:
        return {CALC_COND_BATCH: self._install, DIFFUSION_MODEL: self._call_denoiser}

    def report(self) -> dict[str, Any]:
        """As `AttentionRun.report`, with what another override would have done if this one had not come first."""
        found = self._attention.report()
        if self._previous is not None:
            found["below"] = getattr(self._previous, "__name__", type(self._previous).__name__)
        return found

    def close(self) -> None:
        self._attention.forget()
        self._forward = self._previous = None

    def _install(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        model_options = kwargs.get("model_options", args[-1] if args else {})
        options = model_options.setdefault("transformer_options", {})
        present = options.get(_OVERRIDE)
        if present != self.override:
            self._previous = present
        options[_OVERRIDE] = self.override
        try:
            return executor(*args, **kwargs)
        finally:
            self._restore(options)

    def _restore(self, options: dict[str, Any]) -> None:
        if self._previous is None:
            options.pop(_OVERRIDE, None)
        else:
            options[_OVERRIDE] = self._previous

    def _call_denoiser(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = find_options(args, kwargs)
        with self._within(executor.class_obj, args[0], options, kwargs):
            return executor(*args, **kwargs)

    @contextmanager
    def _within(self, denoiser: Any, latents: Any, options: dict[str, Any], kwargs: dict[str, Any]) -> Iterator[None]:
        step = step_at(self._sigmas, float(options["sigmas"].flatten()[0]))
        grid = find_grid(denoiser, latents)
        self._forward = _Forward(step, self._branches.name(options), grid, denoiser, kwargs)
        try:
            yield
        finally:
            self._forward = None

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def override(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """ComfyUI's override of one call of attention. func: the kernel that ComfyUI selected."""
        if self._previous is not None:
            previous, kernel = self._previous, func

            def below(*inner: Any, **words: Any) -> Any:
                return previous(kernel, *inner, **words)

            func = below
        return self._attend(func, *args, **kwargs)

    def _attend(
        self, func: Callable[..., Any], q: Any, k: Any, v: Any, heads: int, mask: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        def decline() -> Any:
            return func(q, k, v, heads, mask, *args, **kwargs)

        forward, split = self._forward, bool(kwargs.get("skip_reshape", args[1] if len(args) > 1 else False))
        length = q.shape[2] if split else q.shape[1]
        if forward is None or not _is_video(forward.grid, length, k.shape[2] if split else k.shape[1]):
            return decline()
        layer, forward.calls = f"attention {forward.calls}", forward.calls + 1
        if why := _why_declined(mask, q.shape[0], forward.branches):
            self._attention.refuse(layer, forward.branches[0], forward.step, length, why)
            return decline()
        query, key, value = (_split_heads(x, heads, split) for x in (q, k, v))
        as_heads = bool(kwargs.get("skip_output_reshape", args[2] if len(args) > 2 else False))

        def dense(part: slice) -> torch.Tensor:
            one = mask if mask is None or mask.ndim < 3 or mask.shape[0] == 1 else mask[part]
            out = func(q[part], k[part], v[part], heads, one, *args, **kwargs)
            return out if as_heads else _split_heads(out, heads, False)

        found = self._attention.attend_batch(
            layer, forward.branches, forward.step, forward.grid, query, key, value, dense,
            mask=_read_mask(mask), scale=kwargs.get("scale"),
            exact_tokens=count_exact_tokens(forward.denoiser, forward.grid, length, forward.options),
        )  # fmt: skip
        return found if as_heads else found.transpose(1, 2).flatten(2)


def _is_video(grid: TokenGrid | None, queries: int, keys: int) -> bool:
    """Whether a call is self-attention over the video's tokens, possibly with others."""
    return queries == keys and grid is not None and queries >= grid.video_tokens


def _why_declined(mask: torch.Tensor | None, batch: int, branches: tuple[str, ...]) -> str:
    if batch % len(branches):
        return f"a batch of {batch} for {len(branches)} conditions"
    if mask is not None and not mask.is_floating_point() and mask.dtype != torch.bool:
        return f"a mask of {mask.dtype}"
    return ""


def _read_mask(mask: torch.Tensor | None) -> torch.Tensor | None:
    """ComfyUI's mask ([q, k], [b, q, k] or [b, h, q, k]; bool or additive) as one of `scaled_dot_product_attention`."""
    if mask is None:
        return None
    while mask.ndim < 4:
        mask = mask.unsqueeze(0) if mask.ndim == 2 else mask.unsqueeze(1)
    if mask.is_floating_point():
        return found if (found := padding_mask(mask)) is not None else mask
    return mask


def _split_heads(x: torch.Tensor, heads: int, split: bool) -> torch.Tensor:
    """[b, h, l, d] of a tensor of ComfyUI's attention."""
    return x if split else x.unflatten(-1, (heads, -1)).transpose(1, 2)
