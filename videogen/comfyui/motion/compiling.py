"""Compile motions at a node that has the clip's size: a message names the node of the motion that does not fit."""

from __future__ import annotations

from videogen.core.errors import InputError
from videogen.motion import Camera, CutDrag, Drag, Motion, Tracks, Transfer, compile_motion
from videogen.motion.plan import MotionPlan
from videogen.motion.spec import MotionPartError, parts_of

_NODES: dict[type[Motion], str] = {
    Camera: "Motion: Camera",
    CutDrag: "Motion: Cut and Drag",
    Drag: "Motion: Drag",
    Tracks: "Motion: Tracks",
    Transfer: "Motion: Transfer",
}


def compile_motions(motion: Motion, frames: int, height: int, width: int) -> MotionPlan:
    """As `compile_motion`."""
    try:
        return compile_motion(motion, frames, height, width)
    except MotionPartError as error:
        name, count = _NODES.get(type(error.part), type(error.part).__name__), len(parts_of(motion))
        which = f" (motion {error.index + 1} of {count})" if count > 1 else ""
        raise InputError(f"{name}{which}: {error}") from error
