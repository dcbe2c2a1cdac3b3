"""Motions, their preview, and noise that follows them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from comfy_api.latest import io

from videogen.motion import Camera, Drag, Motion, compile_motion

from ..schema import CATEGORY
from ..warped_noise import WarpedHostNoise, latent_scale

MOTION = io.Custom("VIDEOGEN_MOTION")
_EASES = ["linear", "in", "out", "in_out"]


def _base_input() -> Any:
    return MOTION.Input("motion", optional=True, tooltip="Another motion, which this one is combined with.")


def _ease_input() -> Any:
    return io.Combo.Input("ease", options=_EASES, default="linear", tooltip="How the motion begins and ends.")


class MotionCamera(io.ComfyNode):
    """A camera's movement over the clip."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenMotionCamera",
            display_name="Motion: Camera (videogen)",
            category=f"{CATEGORY}/motion",
            description="A camera that pans, tilts, rolls or zooms, from the first to the last frame.",
            search_aliases=["videogen", "camera", "pan", "zoom"],
            inputs=[
                _number("pan", 0.0, 4096.0, "Pixels that the camera turns to the right."),
                _number("tilt", 0.0, 4096.0, "Pixels that the camera turns upwards."),
                _number("roll", 0.0, 360.0, "Degrees that the camera turns clockwise."),
                io.Float.Input(
                    "zoom", default=1.0, min=0.1, max=10.0, step=0.01,
                    tooltip="Size at the last frame; above 1 zooms in.",
                ),
                _ease_input(),
                _base_input(),
            ],
            outputs=[MOTION.Output(display_name="motion", tooltip="For Warped Noise and Motion Preview.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, pan: float, tilt: float, roll: float, zoom: float, ease: str, motion: Motion | None = None) -> Any:
        return io.NodeOutput(_combine(motion, lambda: Camera(pan=pan, tilt=tilt, roll=roll, zoom=zoom, ease=ease)))


class MotionDrag(io.ComfyNode):
    """An object that moves in a straight line."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenMotionDrag",
            display_name="Motion: Drag (videogen)",
            category=f"{CATEGORY}/motion",
            description="What is at one point of the first frame moves to another point, over the clip.",
            search_aliases=["videogen", "drag", "trajectory", "path"],
            inputs=[
                _pixel("from_x", "Where it is in the first frame."),
                _pixel("from_y", "Where it is in the first frame."),
                _pixel("to_x", "Where it is in the last frame."),
                _pixel("to_y", "Where it is in the last frame."),
                io.Float.Input("radius", default=0.0, min=0.0, max=4096.0, step=1.0,
                               tooltip="Size of the region that moves, in pixels; 0: a sixth of the shorter side."),
                _ease_input(),
                _base_input(),
            ],
            outputs=[MOTION.Output(display_name="motion", tooltip="For Warped Noise and Motion Preview.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, from_x: float, from_y: float, to_x: float, to_y: float, radius: float, ease: str,
        motion: Motion | None = None,
    ) -> Any:  # fmt: skip
        region = (from_x, from_y, radius) if radius else None
        return io.NodeOutput(_combine(motion, lambda: Drag(region, [(from_x, from_y), (to_x, to_y)], ease=ease)))


class MotionPreview(io.ComfyNode):
    """A motion as a clip."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenMotionPreview",
            display_name="Motion Preview (videogen)",
            category=f"{CATEGORY}/motion",
            description="Shows a motion on a grid, or on the first frame that it is given, without a model.",
            search_aliases=["videogen", "preview", "motion"],
            inputs=[
                MOTION.Input("motion", tooltip="From a motion node."),
                io.Int.Input("width", default=832, min=8, max=8192, step=8, tooltip="Of the clip, in pixels."),
                io.Int.Input("height", default=480, min=8, max=8192, step=8, tooltip="Of the clip, in pixels."),
                io.Int.Input("length", default=81, min=1, max=4096, tooltip="Frames of the clip."),
                io.Image.Input("first_frame", optional=True, tooltip="An image of this size, which is moved."),
            ],
            outputs=[io.Image.Output(tooltip="The frames, with arrows.")],
        )

    @classmethod
    def execute(
        cls, motion: Motion, width: int, height: int, length: int, first_frame: torch.Tensor | None = None
    ) -> Any:
        plan = compile_motion(motion, length, height, width)
        first = None if first_frame is None else (first_frame[0, ..., :3] * 255).round().byte().cpu().numpy()
        return io.NodeOutput(torch.from_numpy(plan.preview(first)).float() / 255)


class WarpedNoise(io.ComfyNode):
    """NOISE that follows a motion."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenWarpedNoise",
            display_name="Warped Noise (videogen)",
            category=CATEGORY,
            description="Noise that moves along a motion (Go-with-the-Flow), for SamplerCustomAdvanced. Models that "
            "were trained for it, such as with the Go-with-the-Flow LoRAs, follow it closely; others in part.",
            search_aliases=["videogen", "go with the flow", "noise warp", "motion control"],
            inputs=[
                io.Noise.Input("noise", tooltip="RandomNoise: its seed, and the part that does not move."),
                MOTION.Input("motion", tooltip="From a motion node."),
                io.Model.Input("model", tooltip="The model that is sampled: how many pixels and frames a latent has."),
                io.Float.Input(
                    "strength", default=0.9, min=0.0, max=1.0, step=0.01,
                    tooltip="How much of the noise moves. 0 is bit-identical to the noise that goes in.",
                ),
            ],
            outputs=[io.Noise.Output(tooltip="For SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, noise: Any, motion: Motion, model: Any, strength: float) -> Any:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength={strength} must be from 0 to 1, such as 0.9")
        return io.NodeOutput(WarpedHostNoise(noise, motion, strength, *latent_scale(model)))


def _number(name: str, default: float, most: float, tooltip: str) -> Any:
    return io.Float.Input(name, default=default, min=-most, max=most, step=1.0, tooltip=tooltip)


def _pixel(name: str, tooltip: str) -> Any:
    return io.Float.Input(name, default=0.0, min=-8192.0, max=8192.0, step=1.0, tooltip=f"{tooltip} In pixels.")


def _combine(base: Motion | None, build: Callable[[], Motion]) -> Motion:
    """The motion that a node adds, over the one that it is given."""
    parts = [build()] if base is None else [base, build()]
    return functools.reduce(operator.add, parts)
