"""Warped Noise."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from videogen.motion import Motion

from ..hooks.latent_scale import latent_scale
from ..native.warped_noise import WarpedHostNoise, check_windows
from ..schema import CATEGORY
from .motion import MOTION


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
                io.Model.Input(
                    "model", tooltip="The model that is sampled, after context windows: how many pixels and frames a "
                    "latent has."
                ),
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
        if strength > 0:
            check_windows(model)
        return io.NodeOutput(WarpedHostNoise(noise, motion, strength, *latent_scale(model)))
