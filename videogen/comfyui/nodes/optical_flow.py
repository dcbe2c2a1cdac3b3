"""Optical Flow."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from videogen.motion.flow_images import draw_flow

from ..images import to_frames, to_images
from ..motion.optical_flow import METHODS, measure_flow
from ..motion.previews import show_clip
from .motion import FLOW, MOTION_CATEGORY


class OpticalFlow(io.ComfyNode):
    """Motion between the frames of a video."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenOpticalFlow",
            display_name="Optical Flow (videogen)",
            category=MOTION_CATEGORY,
            description="Measures the motion between the frames of a video, for Motion: Transfer, and draws it in "
            "colours: the hue is the direction, the saturation the speed; what rests is white. It needs no download.",
            search_aliases=["videogen", "optical flow", "raft", "dis", "flow visualization"],
            inputs=[
                io.Image.Input("images", tooltip="Frames of a video, at least two."),
                io.Combo.Input(
                    "method", options=list(METHODS), default="fine",
                    tooltip="fine: resolves small objects. smooth: cleaner over large surfaces. quick: for a look.",
                ),
                io.Custom("OPTICAL_FLOW").Input(
                    "model", optional=True,
                    tooltip="From Load Optical Flow Model (RAFT), in place of method: more exact, and slower.",
                ),
            ],
            outputs=[
                FLOW.Output(display_name="flow", tooltip="For Motion: Transfer."),
                io.Image.Output(display_name="colours", tooltip="One image per pair of frames."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, images: torch.Tensor, method: str, model: Any = None) -> Any:
        frames = to_frames(images)
        pair = measure_flow(frames, method, model, _report_progress(2 * (len(frames) - 1)))
        colours = to_images(draw_flow(pair.forward))
        return io.NodeOutput(pair, colours, ui=show_clip(colours))


def _report_progress(total: int) -> Any:
    """Moves the bar at the node by one pair of frames, and stops where the user interrupts."""
    import comfy.model_management
    import comfy.utils

    bar = comfy.utils.ProgressBar(total)

    def on_pair(done: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return on_pair
