"""Checks of what a run of sparse attention is given, and the reasons for which a call stays dense under any policy."""

from __future__ import annotations

import torch

from videogen.core.errors import InputError

from .config import SparseAttention
from .layout import as_key_mask


def read_config(config: SparseAttention | str | None) -> SparseAttention:
    """The configuration that a spec or None stands for. Raises InputError."""
    if isinstance(config, str):
        config = SparseAttention.parse(config)
        if config is None:
            raise InputError("attention 'dense' needs nothing attached")
    if not isinstance(config, SparseAttention | None):
        raise InputError(f"config={config!r} must be a SparseAttention or a spec such as 'adaptive'")
    return config or SparseAttention()


def check_steps(steps: int | None) -> int | None:
    """InputError for what is neither a number of steps nor None."""
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise InputError(f"steps={steps!r} must be an integer above 0")
    return steps


def why_dense(
    config: SparseAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    is_causal: bool = False,
    dropout_p: float = 0.0,
) -> str:
    """Why a call cannot be made sparse, whatever the policy; empty where it can. Tensors as for `AttentionRun.attend`;
    the rest as for torch's `scaled_dot_product_attention`."""
    if query.shape[2] < config.min_length:
        return f"{query.shape[2]} tokens are fewer than min_length={config.min_length}"
    if query.shape[2] != key.shape[2]:
        return "cross-attention"
    if is_causal:
        return "causal attention"
    if dropout_p:
        return "dropout"
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        return "gradients are being recorded"
    if mask is not None and mask.ndim != 2 and as_key_mask(mask, query, key) is None:
        return f"a mask {list(mask.shape)} that is more than key padding"
    return ""


def why_exact(exact_tokens: tuple[int, int], length: int) -> str:
    """Why a call of so many tokens stays dense where these, before and after the video's, are exact; empty where it
    may be sparse. InputError for numbers below 0."""
    before, after = exact_tokens
    if min(before, after) < 0:
        raise InputError(f"exact_tokens={exact_tokens} must be the numbers of tokens before and after the video's")
    return "" if before + after < length else f"exact_tokens={exact_tokens} are all of {length} tokens"
