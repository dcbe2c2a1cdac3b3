"""Motion: Camera."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from videogen.motion import Camera, Motion

from ..motion.inputs import combine_motions
from .motion import MOTION_CATEGORY, base_input, ease_input, motion_output, number_input, scale_input


class MotionCamera(io.ComfyNode):
    """A camera's movement over the clip."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenMotionCamera",
            display_name="Motion: Camera (videogen)",
            category=MOTION_CATEGORY,
            description="A camera that pans, tilts, rolls, zooms or moves, from the first to the last frame. It films "
            "what comes before it in a chain of motions, not what comes after it.",
            search_aliases=["videogen", "camera", "pan", "zoom", "dolly", "orbit", "camera control"],
            inputs=[
                number_input("pan", 0.0, 4096.0, "Pixels that the camera turns to the right; the image moves left."),
                number_input("tilt", 0.0, 4096.0, "Pixels that the camera turns upwards; the image moves down."),
                number_input("roll", 0.0, 360.0, "Degrees that the camera turns clockwise."),
                scale_input("zoom", "Size at the last frame; above 1 zooms in."),
                ease_input(),
                base_input(),
                number_input(
                    "truck", 0.0, 4096.0, "Pixels that the image moves left as the camera moves right.",
                    optional=True, advanced=True,
                ),
                io.Float.Input(
                    "dolly", default=0.0, min=-10.0, max=0.9, step=0.01, optional=True, advanced=True,
                    tooltip="Fraction of the distance to the image's plane that the camera moves forward.",
                ),
                number_input(
                    "orbit", 0.0, 80.0, "Degrees that the camera swings to the right around the image's centre.",
                    optional=True, advanced=True,
                ),
            ],
            outputs=[motion_output()],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, pan: float, tilt: float, roll: float, zoom: float, ease: str, motion: Motion | None = None,
        truck: float = 0.0, dolly: float = 0.0, orbit: float = 0.0,
    ) -> Any:  # fmt: skip
        camera = Camera(
            pan=pan, tilt=tilt, roll=roll, zoom=zoom, truck=truck, dolly=dolly, orbit=orbit, ease=ease
        )  # fmt: skip
        return io.NodeOutput(combine_motions(motion, camera))
