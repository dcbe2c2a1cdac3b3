"""Token order: where a video's tokens lie in the sequence, and how blocks become compact in space and time.

Attention over all keys does not depend on the token order, but which tokens share a block does. In `raster` order a
block of 64 is a strip of one row of a frame; in `tile` order it is a 4x4x4 cube.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from videogen.core.errors import InputError


@dataclass(frozen=True)
class TokenGrid:
    """Where a video's tokens lie in a self-attention sequence: `before` others, then frames x height x width, then
    `after`.

    The others are text or a condition.
    """

    frames: int
    height: int
    width: int
    before: int = 0
    after: int = 0

    @property
    def video_tokens(self) -> int:
        return self.frames * self.height * self.width

    @property
    def length(self) -> int:
        return self.before + self.video_tokens + self.after


@lru_cache(maxsize=64)
def permutation(grid: TokenGrid, tile: tuple[int, int, int] = (4, 4, 4)) -> torch.Tensor:
    """`tokens[..., permutation, :]` is tile order: int64 [length]. Tokens outside the grid stay where they are.

    Tiles at the far borders are cut, not padded, so any grid works.
    """
    if min(tile) < 1:
        raise InputError(f"tile={tile} must have at least one token per side")
    axes = [torch.arange(n) for n in (grid.frames, grid.height, grid.width)]
    t, y, x = torch.meshgrid(*axes, indexing="ij")
    key = torch.zeros_like(t)
    for index, side, count in zip((t, y, x), tile, (grid.frames, grid.height, grid.width), strict=True):
        key = key * -(-count // side) + index // side  # which tile
    for index, side in zip((t, y, x), tile, strict=True):
        key = key * side + index % side  # where in it
    inside = key.flatten().argsort() + grid.before
    return torch.cat([torch.arange(grid.before), inside, torch.arange(grid.length - grid.after, grid.length)])


def inverse(order: torch.Tensor) -> torch.Tensor:
    """The permutation that undoes `order`, exactly: both int64 [length]."""
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return back
