"""Dual-Clock Motion: MODEL in, MODEL out."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..hooks.latent_scale import latent_scale
from ..hooks.model_runs import with_runs
from ..native.dual_clock import KEY, DualClock, DualClockRun
from ..schema import CATEGORY


class DualClockMotion(io.ComfyNode):
    """A region of a clip that follows a reference clip, on any video model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenDualClockMotion",
            display_name="Dual-Clock Motion (videogen)",
            category=CATEGORY,
            description="Makes a region of the clip follow a rough reference clip, such as an image whose object was "
            "cut out and dragged along a path (Time-to-Move). Works on text-to-video and image-to-video models without "
            "training. Use it with a sampler that starts from an empty latent of the reference's size: sampling "
            "begins by itself at the weak level. Of two models for high and low noise, it belongs on both.",
            search_aliases=[
                "videogen", "time to move", "ttm", "cut and drag", "motion control", "drag", "trajectory", "sdedit",
            ],
            inputs=[
                io.Model.Input("model", tooltip="A video model, after its LoRAs."),
                io.Latent.Input("reference", tooltip="The reference clip, encoded by the model's VAE."),
                io.Mask.Input(
                    "mask",
                    tooltip="Where the clip follows the reference: white on the moving object in each frame, or one "
                    "mask for all frames. As large as the reference. An empty mask is bit-identical to no node.",
                ),
                io.Float.Input(
                    "weak", default=0.95, min=0.0, max=1.0, step=0.01,
                    tooltip="Noise level at which sampling begins, from the reference: 1 is pure noise. Lower: the "
                    "background stays closer to the reference. With Wan's own shift, use 0.98.",
                ),
                io.Float.Input(
                    "strong", default=0.85, min=0.0, max=1.0, step=0.01,
                    tooltip="Noise level down to which the masked region is held to the reference; at most weak. "
                    "Lower: the motion is followed more closely, and the object's looks too; 0 holds the region to "
                    "the end. With Wan's own shift, use 0.95.",
                ),
                io.Float.Input(
                    "strength", default=1.0, min=0.0, max=1.0, step=0.05, advanced=True,
                    tooltip="How much of the region's content is replaced. 0 is bit-identical to no node.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model for a sampler. The input model stays as it is.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, weak: float | None = None, strong: float | None = None) -> Any:
        if weak is not None and not 0 <= weak <= 1:
            return f"weak={weak} must be from 0 to 1"
        if strong is not None and not 0 <= strong <= (1 if weak is None else weak):
            return f"strong={strong} must be from 0 to weak={weak}"
        return True

    @classmethod
    def execute(
        cls, model: Any, reference: Any, mask: torch.Tensor, weak: float, strong: float, strength: float = 1.0
    ) -> Any:
        samples = reference["samples"]
        video = samples.unbind()[0] if getattr(samples, "is_nested", False) else samples
        settings = DualClock(video, mask, weak, strong, strength, *latent_scale(model))
        return io.NodeOutput(with_runs(model, KEY, lambda context: DualClockRun(context, settings)))
