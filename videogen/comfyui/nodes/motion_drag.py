"""Motion: Drag, and Motion: Tracks."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from videogen.motion import Drag, Motion
from videogen.motion.drag import TIMED

from ..motion.inputs import combine_motions, mean_path, read_region, read_tracks, tracked_motion
from .motion import (
    MOTION_CATEGORY,
    base_input,
    check_numbers,
    ease_input,
    motion_output,
    number_input,
    pixel_input,
    region_input,
)
from .motion import scale_input as scale


class MotionDrag(io.ComfyNode):
    """An object that moves along a path."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenMotionDrag",
            display_name="Motion: Drag (videogen)",
            category=MOTION_CATEGORY,
            description="What is at one point of the first frame moves to another point, over the clip.",
            search_aliases=["videogen", "drag", "trajectory", "path", "move object"],
            inputs=[
                pixel_input("from_x", "Where it is in the first frame."),
                pixel_input("from_y", "Where it is in the first frame."),
                pixel_input("to_x", "Where it is in the last frame."),
                pixel_input("to_y", "Where it is in the last frame."),
                io.Float.Input("radius", default=0.0, min=0.0, max=4096.0, step=1.0,
                               tooltip="Size of the region that moves, in pixels; 0: a sixth of the shorter side."),
                ease_input(),
                base_input(),
                region_input("The region that moves, in place of a disc around the first point: a mask or a box, in "
                             "pixels of the clip."),
                io.Tracks.Input("tracks", optional=True,
                                tooltip="The path, in place of the two points and of ease: the mean of these tracks, "
                                "in pixels of the clip, with their own timing, spread over the clip."),
                scale("scale", "Size that it has in the last frame.", optional=True, advanced=True),
                number_input("rotate", 0.0, 3600.0, "Degrees that it turns clockwise.", optional=True, advanced=True),
            ],
            outputs=[motion_output()],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, from_x: float, from_y: float, to_x: float, to_y: float, radius: float, ease: str,
        motion: Motion | None = None, region: Any = None, tracks: Any = None, scale: float = 1.0, rotate: float = 0.0,
    ) -> Any:  # fmt: skip
        if not 0 <= radius <= 4096:  # so is NaN
            raise ValueError(f"radius={radius} must be from 0 to 4096 pixels; 0 is a sixth of the shorter side")
        check_numbers(from_x=from_x, from_y=from_y, to_x=to_x, to_y=to_y)
        path = [(from_x, from_y), (to_x, to_y)] if tracks is None else mean_path(read_tracks(tracks))
        moves = read_region(region)
        if moves is None and radius:
            moves = (*path[0], radius)
        timing = ease if tracks is None else TIMED
        return io.NodeOutput(combine_motions(motion, Drag(moves, path, scale=scale, rotate=rotate, ease=timing)))


class MotionTracks(io.ComfyNode):
    """ComfyUI's tracks as a motion."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenMotionTracks",
            display_name="Motion: Tracks (videogen)",
            category=MOTION_CATEGORY,
            description="Moves the image, or a region of it, along tracks of points, such as those of Generate Video "
            "Tracks. Between the points the motion is smooth. Tracks of any length are spread over the clip.",
            search_aliases=["videogen", "tracks", "trajectory", "wan move", "ati", "points"],
            inputs=[
                io.Tracks.Input("tracks", tooltip="Points over time, in pixels. Where a point is not visible, it is "
                                "left out."),
                region_input("The region that moves: a mask or a box. Without one, the entire image moves."),
                io.Int.Input("width", default=0, min=0, max=8192, tooltip="Of the frames for which the tracks were "
                             "made, in pixels; they are scaled to the clip. 0: of the clip."),
                io.Int.Input("height", default=0, min=0, max=8192, tooltip="As width."),
                base_input(),
            ],
            outputs=[motion_output()],
        )  # fmt: skip

    @classmethod
    def execute(cls, tracks: Any, width: int, height: int, region: Any = None, motion: Motion | None = None) -> Any:
        return io.NodeOutput(combine_motions(motion, tracked_motion(tracks, region, width=width, height=height)))
