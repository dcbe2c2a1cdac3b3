"""Choice of the frames that a key step computes, and the frame subset of a model that computes only those.

Frames are chosen in turn, f = t mod m, so that each is computed at every m-th key step. In addition those are chosen
that differ too much from the frame that would be propagated to them; predicted clean latents are compared, as noise
says nothing about content. Not from a paper; the gate is a cosine similarity, not an error bound.
"""

from __future__ import annotations

import torch
from torch import nn

from videogen.core.errors import InputError

from .frame_subset import FrameSubset
from .frame_subset_dit import DitFrameSubset
from .frame_subset_unet import UnetFrameSubset
from .unet_cut import is_unet


def build_frame_subset(model: nn.Module) -> FrameSubset:
    """Attach a frame subset to a diffusers UNet or video transformer, before any other propagation is attached.

    Raises UnsupportedError for a model whose frames cannot be computed separately, InputError if another attachment
    came first.
    """
    return UnetFrameSubset(model) if is_unet(model) else DitFrameSubset(model)


def choose_frames(
    every: int, count: int, frames: int, clean: torch.Tensor | None = None, gate: float = 0.8
) -> tuple[int, ...]:
    """The frames that the `count`-th key step computes, ascending, at least one. Raises InputError.

    every: m; each frame is chosen every m-th time, 1 chooses all. clean: [b, c, f, h, w], the predicted clean latents
    of the last step. A frame is also chosen if in any sample of the batch its cosine similarity to the nearest frame
    chosen in turn is below `gate` (from -1 to 1) or not finite.
    """
    if every < 1 or count < 0 or frames < 1:
        raise InputError(f"every={every} and frames={frames} must be above 0, and count={count} must not be negative")
    if not -1.0 <= gate <= 1.0:
        raise InputError(f"gate={gate} is a cosine similarity; use a value from -1 to 1, such as 0.8")
    turn = count % every
    chosen = tuple(range(turn, frames, every)) or (turn % frames,)
    if clean is None or len(chosen) == frames:
        return chosen
    if clean.ndim != 5 or clean.shape[2] != frames:
        raise InputError(
            f"clean={list(clean.shape)} must be [batch, channel, frame, height, width] with {frames} frames"
        )
    nearest = [min(chosen, key=lambda near: abs(near - f)) for f in range(frames)]
    similar = _similarity(clean, clean[:, :, nearest])
    return tuple(f for f in range(frames) if f in chosen or not similar[f] >= gate)


def _similarity(one: torch.Tensor, other: torch.Tensor) -> list[float]:
    """The cosine similarity of two [b, c, f, h, w] per frame, the least over the batch."""
    a, b = (x.float().transpose(1, 2).flatten(2) for x in (one, other))
    similarity: list[float] = torch.cosine_similarity(a, b, dim=2).amin(0).tolist()
    return similarity
