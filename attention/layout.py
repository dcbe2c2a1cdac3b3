"""Token layout: where the video and other tokens lie in a sequence, its padding, and how a diffusers model shows them.

What is known about models is read from configurations and shapes; the rest of the library knows nothing about model
families.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .order import TokenGrid

#: Processors whose joint sequences begin with the text. With processors in neither list both ends count as text.
_TEXT_FIRST = ("CogVideoX", "EasyAnimate")
_VIDEO_FIRST = ("HunyuanVideo", "Mochi", "Motif")
_HIDDEN = 10_000  # what additive masks subtract at least from the scores of padding


def as_key_mask(mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
    """bool [b, keys] for a mask that only hides keys, the same for all rows and heads; None for any other mask.

    A square mask that hides the same tokens as queries and as keys (HunyuanVideo 1.5) counts as such: the results of
    hidden queries are never read.
    """
    if mask is None or mask.dtype != torch.bool:
        return None
    while mask.ndim < 4:
        mask = mask.unsqueeze(0)
    if mask.shape[1] != 1 or mask.shape[3] != key.shape[2]:
        return None
    if mask.shape[2] == 1:
        return mask[:, 0, 0].expand(query.shape[0], -1)
    if mask.shape[2] != mask.shape[3]:
        return None
    valid = mask[:, 0].diagonal(dim1=1, dim2=2)
    sums = valid * valid.sum(-1, keepdim=True)  # row and column sums that only the outer product of `valid` has
    if not (torch.equal(mask[:, 0].sum(1), sums) and torch.equal(mask[:, 0].sum(2), sums)):
        return None
    return valid.expand(query.shape[0], -1)


def padding_mask(bias: torch.Tensor) -> torch.Tensor | None:
    """bool [b, 1, 1, keys] for an additive mask of floats [b, 1, 1, keys] that hides padding: 0 for a key that is read,
    and -10,000 or less for one that is not. None for any other mask."""
    if not bias.is_floating_point() or bias.ndim != 4 or bias.shape[1:3] != (1, 1):
        return None
    read, hidden = bias == 0, bias <= -_HIDDEN
    return read if bool((read | hidden).all()) else None


def guess_grid(model: nn.Module, latents: torch.Tensor | None) -> TokenGrid | None:
    """The grid of a model's input [b, c, f, h, w] (or [b, f, c, h, w]) under its configured patch size."""
    config = getattr(model, "config", None)
    if latents is None or config is None:
        return None
    frames, (height, width) = latents.shape[2], latents.shape[3:]
    channels = getattr(config, "in_channels", None)
    if channels is not None and latents.shape[2] == channels and latents.shape[1] != channels:
        frames = latents.shape[1]
    t, h, w = _patch(config)
    return TokenGrid(frames // t, height // h, width // w)


def frames_per_token(model: nn.Module) -> int:
    """Latent frames per frame of tokens, from the model's configuration."""
    return int(_patch(getattr(model, "config", None))[0])


def _patch(config: Any) -> tuple[int, int, int]:
    patch = getattr(config, "patch_size", 1)
    if isinstance(patch, list | tuple) and len(patch) == 3:
        return int(patch[0]), int(patch[1]), int(patch[2])
    return (getattr(config, "patch_size_t", None) or 1, *_pair(patch))


def _pair(patch: Any) -> tuple[int, int]:
    return (int(patch[0]), int(patch[1])) if isinstance(patch, list | tuple) else (int(patch or 1), int(patch or 1))


def token_layout(grid: TokenGrid | None, text: int, length: int, processor: str) -> TokenGrid | None:
    """Where the video and the text of a joint sequence of a diffusers model lie, as far as known; None: all tokens are
    treated the same.

    `text` tokens of the module's text input are at one end. Where it is unknown at which, or where the text is
    packed into the video's input, as many tokens count as text at both ends.
    """
    found = _grid_of_length(length, grid)
    if found is not None or text == 0:
        return found or sequence_layout(grid, length)
    if processor.startswith(_TEXT_FIRST):
        return sequence_layout(grid, length, text, 0)
    if processor.startswith(_VIDEO_FIRST):
        return sequence_layout(grid, length, 0, text)
    return _line(length, text, text) if 2 * text < length else None


def sequence_layout(grid: TokenGrid | None, length: int, before: int = 0, after: int = 0) -> TokenGrid | None:
    """Where the tokens of a sequence lie that begins with `before` and ends with `after` tokens of something else than
    the video; None: all tokens are treated the same.

    grid: the video's. Where it and the two numbers do not add up, only the ends are known; without the numbers, as many
    tokens as are left over count as other tokens at both ends.
    """
    if before or after:
        known = grid is not None and before + grid.video_tokens + after == length
        return replace(grid, before=before, after=after) if grid and known else _line(length, before, after)
    found = _grid_of_length(length, grid)
    if found is not None:
        return found
    packed = 0 if grid is None else length - grid.video_tokens
    return _line(length, packed, packed) if 0 < 2 * packed < length else None


def _grid_of_length(length: int, grid: TokenGrid | None) -> TokenGrid | None:
    """The grid of a sequence of `length` tokens: the video's, with text if that adds up, or one frame's; else None."""
    if grid is None or grid.length == length:
        return grid
    frame = replace(grid, frames=1, before=0, after=0)
    return frame if frame.length == length else None


def _line(length: int, before: int, after: int) -> TokenGrid:
    """A layout of which only the ends are known: history frames or other conditions lie among the video's tokens."""
    return TokenGrid(1, 1, length - before - after, before, after)
