"""Mask of the controlled region on a model's latent grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from videogen.core.errors import InputError

if TYPE_CHECKING:
    from .plan import MotionPlan


def latent_mask(plan: MotionPlan, *, spatial: int, temporal: int, single_first: bool) -> np.ndarray:
    """The plan's controlled region on latents, as `pool_mask`. InputError where the plan does not fit the grid."""
    if (plan.frames - single_first) % temporal or plan.height % spatial or plan.width % spatial:
        raise InputError(
            f"a plan of {plan.frames} frames of {plan.width}x{plan.height} px does not fit latents of "
            f"{spatial}x{spatial} px and {temporal} frames; make its size and length multiples of these"
        )
    return pool_mask(plan.mask(), spatial=spatial, temporal=temporal, single_first=single_first)


def pool_mask(mask: np.ndarray, *, spatial: int, temporal: int, single_first: bool) -> np.ndarray:
    """A mask [frame, height, width] on latents: [latent frame, height / spatial, width / spatial], float32 in 0..1.

    The value of a latent pixel is the fraction of its pixels that are controlled, at the frame of its group where that
    fraction is largest: an object that passes within a group is not lost. spatial, temporal, single_first: as in the
    model's latent geometry, whose multiples the mask's sizes must be.
    """
    frames, height, width = mask.shape
    cells = mask.reshape(frames, height // spatial, spatial, width // spatial, spatial).mean((2, 4))
    groups = cells[int(single_first) :].reshape(-1, temporal, *cells.shape[1:]).max(1)
    return np.concatenate([cells[:1], groups]) if single_first else groups
