"""Tokens of some frames, which are ordered frame by frame: their index, and a block's arguments at these tokens."""

from __future__ import annotations

import torch
from torch.utils import _pytree as tree

from videogen.core.errors import InputError, UnsupportedError

from .frame_subset import FrameSelection


def token_index(selection: FrameSelection, patch_t: int, hidden: torch.Tensor) -> torch.Tensor | None:
    """The indices of the fresh frames' tokens, int64, among the n of hidden states [b, n, c]; None if all are fresh.

    patch_t: the number of latent frames in one frame of tokens, which is fresh if one of them is. Raises InputError,
    UnsupportedError.
    """
    if hidden.ndim != 3:
        raise UnsupportedError(f"hidden states {list(hidden.shape)} are not [batch, tokens, channels]; use frames=1")
    frames, count = max(selection.frames // patch_t, 1), hidden.shape[1]
    if count % frames:
        raise InputError(
            f"{count} tokens are not a multiple of {frames} frames of tokens; "
            f"give the video's frames of latents, not {selection.frames}"
        )
    chosen = sorted({min(f // patch_t, frames - 1) for f in selection.fresh})
    if len(chosen) == frames:
        return None
    per_frame = count // frames

    def build() -> torch.Tensor:
        starts = torch.tensor([f * per_frame for f in chosen], device=hidden.device)
        return (starts[:, None] + torch.arange(per_frame, device=hidden.device)).flatten()

    return selection.shared(("tokens", count, hidden.device), build)


def select_tokens(name: str, value: object, tokens: torch.Tensor, count: int) -> object:
    """An argument of a block, or each tensor in it, reduced to `tokens` of the video's `count` tokens.

    Text is not reduced. A mask [..., n, n] is reduced along its queries. A floating-point tensor is indexed along its
    first axis of length `count`, except the last axis, which is channels; an integer one has positions and is indexed
    along any axis.
    """
    if name in ("encoder_hidden_states", "encoder_attention_mask"):
        return value

    def select(x: object) -> object:
        if not isinstance(x, torch.Tensor):
            return x
        if name == "attention_mask":
            return x.index_select(-2, tokens) if x.ndim > 1 and x.shape[-2] == x.shape[-1] == count else x
        axes = x.shape[:-1] if x.is_floating_point() or x.is_complex() else x.shape
        return x.index_select(list(axes).index(count), tokens) if count in axes else x

    found: object = tree.tree_map(select, value)
    return found
