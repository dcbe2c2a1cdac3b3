"""Cutting a transformer block's arguments to the tokens of some frames. Tokens lie frame by frame."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as tree

from videogen.core.errors import InputError, UnsupportedError

from .lattice import Asked


def token_index(asked: Asked, patch_t: int, hidden: torch.Tensor) -> torch.Tensor | None:
    """int64 [tokens of the fresh frames] among the n of hidden states [b, n, c]; None where all are fresh.

    patch_t: latent frames in one frame of tokens, which is fresh if one of them is. Raises InputError,
    UnsupportedError.
    """
    if hidden.ndim != 3:
        raise UnsupportedError(f"hidden states {list(hidden.shape)} are not [batch, tokens, channels]; use frames=1")
    frames, count = max(asked.frames // patch_t, 1), hidden.shape[1]
    if count % frames:
        raise InputError(
            f"{count} tokens are no multiple of {frames} frames of tokens; give the video's frames of latents, not {asked.frames}"
        )
    chosen = sorted({min(f // patch_t, frames - 1) for f in asked.fresh})
    if len(chosen) == frames:
        return None
    each = count // frames

    def make() -> torch.Tensor:
        starts = torch.tensor([f * each for f in chosen], device=hidden.device)
        return (starts[:, None] + torch.arange(each, device=hidden.device)).flatten()

    return asked.once(("tokens", count, hidden.device), make)


def cut_tokens(name: str, value: Any, tokens: torch.Tensor, count: int) -> Any:
    """An argument of a block, or the tensors in its tuples, at `tokens` of the `count` tokens of the video.

    Text is not cut. Of a mask [..., n, n] the queries are. A floating-point tensor is cut along its first axis of
    length `count` that is not its last, which is channels; one of whole numbers holds positions and is cut along any.
    """
    if name in ("encoder_hidden_states", "encoder_attention_mask"):
        return value

    def cut(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        if name == "attention_mask":
            return x.index_select(-2, tokens) if x.ndim > 1 and x.shape[-2] == x.shape[-1] == count else x
        axes = x.shape[:-1] if x.is_floating_point() or x.is_complex() else x.shape
        return x.index_select(list(axes).index(count), tokens) if count in axes else x

    return tree.tree_map(cut, value)
