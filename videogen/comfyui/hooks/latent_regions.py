"""Masks on a model's latents, and the video's part of latents that ComfyUI packs with others, such as sound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from videogen.core.errors import InputError
from videogen.motion.latents import pool_mask

_MASK_AXES = 3


def pool_region(mask: torch.Tensor, size: tuple[int, int, int], spatial: int, temporal: int) -> torch.Tensor:
    """A mask [frame, height, width] on latents of `size` (frames, height, width): [1, 1, f, h, w] in 0..1.

    Its height and width are those of the clip in pixels, or of the latents. Its frames are those of the clip, of its
    latents, or one for all. Each latent takes the largest value of the frames that it stands for. spatial, temporal: px
    and frames per latent; the first latent stands for one frame. InputError for a mask of another size.
    """
    frames, height, width = size
    clip = (frames - 1) * temporal + 1
    in_pixels = (height * spatial, width * spatial)
    if mask.ndim != _MASK_AXES or tuple(mask.shape[1:]) not in (in_pixels, (height, width)):
        raise InputError(
            f"mask {list(mask.shape)} does not fit the reference: it must be {in_pixels[1]}x{in_pixels[0]} pixels"
        )
    if mask.shape[0] not in (1, frames, clip):
        raise InputError(f"mask has {mask.shape[0]} frames; give {clip}, as the reference has, or one for all")
    values = mask.float().cpu().numpy()
    per_cell = spatial if tuple(mask.shape[1:]) == in_pixels else 1
    per_frame = temporal if mask.shape[0] == clip else 1
    pooled = pool_mask(values, spatial=per_cell, temporal=per_frame, single_first=mask.shape[0] == clip)
    return torch.from_numpy(np.ascontiguousarray(pooled)).expand(frames, height, width)[None, None]


def pack_video(video: torch.Tensor, latents: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """`video` [b, c, f, h, w] in place of the video in latents: as it is, or, where they are packed as [b, 1, n]
    with other modalities, with the latents of those behind it. shapes: of the modalities, the video's first."""
    if len(shapes) < 2:
        return video.expand(max(video.shape[0], latents.shape[0]), *video.shape[1:])
    batch, length = latents.shape[0], math.prod(shapes[0][1:])
    flat = video.expand(batch, *shapes[0][1:]).reshape(batch, 1, length)
    return torch.cat([flat, latents[:, :, length:]], dim=2)
