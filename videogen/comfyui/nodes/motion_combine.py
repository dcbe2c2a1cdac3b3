"""Motion: Combine, and Motion Preview."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from videogen.motion import Motion

from ..images import to_frames, to_images
from ..motion.compiling import compile_motions
from ..motion.inputs import combine_motions
from ..motion.previews import show_clip
from .motion import MOTION, MOTION_CATEGORY, check_length, motion_output, size_inputs

_MOST = 16


class MotionCombine(io.ComfyNode):
    """Several motions as one."""

    @classmethod
    def define_schema(cls) -> Any:
        one = MOTION.Input("motion", tooltip="A motion; the next one comes on top of it.")
        return io.Schema(
            node_id="VideogenMotionCombine",
            display_name="Motion: Combine (videogen)",
            category=MOTION_CATEGORY,
            description="Combines motions in order, the first one lowest. A camera films what comes before it. A "
            "motion of the entire image (Transfer or Tracks without a region) comes first.",
            search_aliases=["videogen", "combine motions", "merge", "add"],
            inputs=[
                io.Autogrow.Input(
                    "motions", template=io.Autogrow.TemplatePrefix(one, prefix="motion", min=2, max=_MOST),
                    tooltip="In order, lowest first.",
                ),
            ],
            outputs=[motion_output()],
        )  # fmt: skip

    @classmethod
    def execute(cls, motions: dict[str, Motion | None]) -> Any:
        return io.NodeOutput(combine_motions(*motions.values()))


class MotionPreview(io.ComfyNode):
    """A motion as a clip."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenMotionPreview",
            display_name="Motion Preview (videogen)",
            category=MOTION_CATEGORY,
            description="Shows a motion on a grid, or on the first frame that it is given, without a model.",
            search_aliases=["videogen", "preview", "motion", "visualize"],
            inputs=[
                MOTION.Input("motion", tooltip="From a motion node."),
                *size_inputs(),
                io.Image.Input("first_frame", optional=True, tooltip="An image of this size, which is moved."),
            ],
            outputs=[io.Image.Output(display_name="frames", tooltip="The frames, with arrows.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, motion: Motion, width: int, height: int, length: int, first_frame: torch.Tensor | None = None
    ) -> Any:
        check_length(length)
        first = None if first_frame is None else to_frames(first_frame, "first_frame")[0]
        if first is not None and first.shape[:2] != (height, width):
            raise ValueError(
                f"first_frame is {first.shape[1]}x{first.shape[0]} and the preview {width}x{height}; set width and "
                "height to the image's, or scale the image"
            )
        frames = to_images(compile_motions(motion, length, height, width).preview(first))
        return io.NodeOutput(frames, ui=show_clip(frames))
