"""Motion: Cut and Drag."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from videogen.motion import CutDrag, Drag, Motion, Tracks

from ..images import to_frames, to_images
from ..motion.cut_drag import drag_region, fit_region
from ..motion.inputs import combine_motions, read_region, read_tracks
from .motion import (
    MOTION_CATEGORY,
    base_input,
    check_length,
    check_numbers,
    ease_input,
    length_input,
    motion_output,
    number_input,
    region_input,
    scale_input,
)

_OBJECT, _REGION = "object", "region"


class MotionCutAndDrag(io.ComfyNode):
    """A region of an image, cut out and moved over it."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenMotionCutAndDrag",
            display_name="Motion: Cut and Drag (videogen)",
            category=MOTION_CATEGORY,
            description="Cuts an object out of an image and moves it over the image: the motion, the clip that shows "
            "where things are to be, and the mask of what moves, frame by frame. VAE Encode the clip for "
            "Dual-Clock Motion (Time-to-Move).",
            search_aliases=["videogen", "cut and drag", "time to move", "ttm", "puppet", "move object"],
            inputs=[
                io.Image.Input("image", tooltip="The first frame, at the size of the clip."),
                region_input("What moves: a mask or a box around it.", optional=False),
                number_input("move_x", 64.0, 8192.0, "Pixels that it moves to the right."),
                number_input("move_y", 0.0, 8192.0, "Pixels that it moves down."),
                scale_input("scale", "Size that it has in the last frame."),
                number_input("rotate", 0.0, 3600.0, "Degrees that it turns clockwise."),
                ease_input(),
                length_input(),
                io.Combo.Input("outline", options=[_REGION, _OBJECT], default=_REGION,
                               tooltip="region: what is marked is cut out as it is. object: its outline is searched "
                               "for in what is marked; for a box or a rough mask."),
                io.Tracks.Input("tracks", optional=True,
                                tooltip="It moves along these points, in place of move, scale, rotate and ease. "
                                "Several points stretch it."),
                io.Image.Input("background", optional=True,
                               tooltip="The image without the object, such as an inpainted one. Without it, the place "
                               "is filled from its surroundings."),
                base_input(),
            ],
            outputs=[
                motion_output(),
                io.Image.Output(display_name="clip", tooltip="The image with the object on its way, for VAE Encode."),
                io.Mask.Output(display_name="mask", tooltip="Where the motion determines the clip, frame by frame."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, image: torch.Tensor, region: Any, move_x: float, move_y: float, scale: float, rotate: float, ease: str,
        length: int, outline: str, tracks: Any = None, background: torch.Tensor | None = None,
        motion: Motion | None = None,
    ) -> Any:  # fmt: skip
        check_length(length)
        check_numbers(move_x=move_x, move_y=move_y)
        if outline not in (_OBJECT, _REGION):
            raise ValueError(f"outline={outline!r} is unknown: use {_REGION} or {_OBJECT}")
        first = to_frames(image, "image")[0]
        covered = fit_region(first, read_region(region), to_object=outline == _OBJECT)
        if tracks is None:
            start = _centre(covered)
            path = [start, (start[0] + move_x, start[1] + move_y)]
            part: Motion = CutDrag((Drag(covered, path, scale=scale, rotate=rotate, ease=ease),))
        else:
            part = Tracks(read_tracks(tracks), covered, timing="stretch")
        combined = combine_motions(motion, part)
        plate = None if background is None else to_frames(background, "background")[0]
        dragged = drag_region(first, combined, length, plate)
        return io.NodeOutput(combined, to_images(dragged.frames), torch.from_numpy(dragged.mask))


def _centre(covered: Any) -> tuple[float, float]:
    from videogen.motion.region import centre_of

    x, y = centre_of(covered)
    return float(x), float(y)
