"""Motion: Transfer."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from videogen.motion import Motion, Transfer

from ..motion.inputs import combine_motions, read_region
from ..motion.optical_flow import read_driving_video
from .motion import FLOW, MOTION_CATEGORY, base_input, motion_output, region_input

_TIMINGS = {"frame by frame": "frames", "spread over the clip": "stretch"}


class MotionTransfer(io.ComfyNode):
    """The motion of another video."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenMotionTransfer",
            display_name="Motion: Transfer (videogen)",
            category=MOTION_CATEGORY,
            description="The motion of a driving video, measured by optical flow. Its size may differ from the clip's.",
            search_aliases=["videogen", "motion transfer", "driving video", "optical flow", "go with the flow"],
            inputs=[
                io.MultiType.Input(
                    "video", types=[io.Image, io.Video, FLOW],
                    tooltip="The driving video: its frames, a VIDEO, or the flow of Optical Flow, which was measured "
                    "by a method of your choice.",
                ),
                io.Combo.Input(
                    "fit", options=["crop", "stretch", "exact"], default="crop",
                    tooltip="Where its aspect ratio differs from the clip's. crop: its centre is used. stretch: all of "
                    "it. exact: an error.",
                ),
                io.Combo.Input(
                    "timing", options=list(_TIMINGS), default="frame by frame",
                    tooltip="frame by frame: from its beginning, and it must be as long as the clip. spread over the "
                    "clip: all of it, slower or faster.",
                ),
                io.Float.Input(
                    "fps", default=0.0, min=0.0, max=1000.0, step=1.0, optional=True, advanced=True,
                    tooltip="Frames per second of the clip: a VIDEO then keeps its pace. 0: frame by frame.",
                ),
                region_input("Only this region of the clip's first frame moves: a mask or a box. Without one, the "
                             "entire image moves."),
                base_input(),
            ],
            outputs=[motion_output()],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, video: Any, fit: str, timing: str, fps: float = 0.0, region: Any = None, motion: Motion | None = None
    ) -> Any:
        if timing not in _TIMINGS:
            raise ValueError(f"timing={timing!r} is unknown: use {' or '.join(_TIMINGS)}")
        driving = read_driving_video(video, fps)
        part = Transfer(driving, read_region(region), fit=fit, timing=_TIMINGS[timing])
        return io.NodeOutput(combine_motions(motion, part))
