"""Cut and drag for ComfyUI: an image's region moved over the image, as the reference clip of dual-clock sampling.

Time-to-Move (2511.08633): the clip shows where things are to be, not how they look there; the model regenerates that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from videogen.core.errors import InputError
from videogen.motion import Motion, compile_motion
from videogen.motion.interpolation import pixel_grid
from videogen.motion.objects import find_outline
from videogen.motion.plan import MotionPlan
from videogen.motion.region import coverage


@dataclass(frozen=True)
class DraggedClip:
    """frames: uint8 [frame, height, width, 3]; mask: float32 [frame, height, width] in 0..1, where the motion
    determines the clip; notes: what was done to fit a part to it."""

    frames: np.ndarray
    mask: np.ndarray
    notes: tuple[str, ...] = ()


def fit_region(first: np.ndarray, region: Any, *, to_object: bool) -> np.ndarray:
    """Coverage float32 [height, width] in 0..1 of a region of the image uint8 [height, width, 3].

    to_object: of the object in the region, by its outline. InputError where the region does not fit the image, or no
    object that differs from its surroundings is in it.
    """
    height, width = first.shape[:2]
    covered = coverage(region, height, width)
    if not to_object:
        return covered
    found = find_outline(first, covered)
    if found is None:
        raise InputError(
            "no object that differs in colour from its surroundings is in the region; mark it closely, or set outline "
            "to region"
        )
    return found


def drag_region(first: np.ndarray, motion: Motion, frames: int, background: np.ndarray | None = None) -> DraggedClip:
    """The clip in which a motion moves the image. background: the image without what moves; None: its place is
    filled, and the first frame is the image."""
    if background is not None and background.shape != first.shape:
        size, other = (f"{one.shape[1]}x{one.shape[0]}" for one in (first, background))
        raise InputError(f"background is {other} and the image {size}; scale one of them")
    plan = compile_motion(motion, frames, *first.shape[:2])
    clip = plan.preview(first, arrows=False, background=background)
    if background is None and _begins_at_rest(plan):
        clip[0] = first  # soft edges have been composited over a filled place
    return DraggedClip(clip, plan.mask(), plan.notes)


def _begins_at_rest(plan: MotionPlan) -> bool:
    grid = pixel_grid(plan.height, plan.width)
    return all(layer.image is None and np.allclose(layer.texture(grid, 0)[0], grid, atol=1e-3) for layer in plan.layers)
