"""Video Metrics: figures of a clip, alone or against a reference."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import torch
from comfy_api.latest import io

from ..engine.media import read_clip
from ..engine.metrics import describe_metrics, measure_clip, metrics_json, read_joins
from ..engine.progress import check_interrupted
from ..schema import CATEGORY


class VideoMetrics(io.ComfyNode):
    """Figures of a clip."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VideogenVideoMetrics",
            display_name="Video Metrics (videogen)",
            category=CATEGORY,
            description="Measures a clip without any model: motion, flicker, colour drift, seams where segments meet, "
            "freezing and repetition; against a reference also PSNR and SSIM.",
            search_aliases=["videogen", "psnr", "ssim", "compare videos", "quality", "flicker", "metrics"],
            inputs=[
                io.Video.Input("video", optional=True, tooltip="The clip. Connect this or images."),
                io.Image.Input("images", optional=True, tooltip="The clip as frames. Connect this or video."),
                io.Video.Input(
                    "reference_video", optional=True, tooltip="A clip of the same size and length to compare with."
                ),
                io.Image.Input("reference_images", optional=True, tooltip="The same as frames."),
                io.Float.Input(
                    "fps", default=16.0, min=0.1, max=240.0, step=0.1, optional=True,
                    tooltip="Frames per second of images; a video has its own.",
                ),
                io.String.Input(
                    "joins", default="", optional=True,
                    tooltip="Frames at which segments meet, such as 33, 66: how visible seams are is measured there.",
                ),
                io.Int.Input(
                    "window", default=0, min=0, max=100_000, optional=True, advanced=True,
                    tooltip="Frames that the model makes at once; within them, similar frames are no repetition. 0: up "
                    "to the first join, or all.",
                ),
                io.Int.Input(
                    "frames_per_latent", default=1, min=1, max=64, optional=True, advanced=True,
                    tooltip="Frames that the model's VAE decodes from one latent, 4 for Wan: seams are compared with "
                    "the steps between its latents.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="What was measured, in a few lines."),
                io.String.Output(display_name="json", tooltip="All that was measured."),
                io.Float.Output(display_name="psnr", tooltip="dB, higher is closer; NaN without a reference."),
                io.Float.Output(display_name="ssim", tooltip="1: equal; NaN without a reference."),
                io.Float.Output(display_name="motion", tooltip="Mean motion in pixels per frame."),
                io.Float.Output(display_name="flicker", tooltip="Brightness that changes to and fro, levels of 255."),
                io.Float.Output(display_name="seam", tooltip="The worst step at a join over its surroundings: above "
                                "1.25 it is visible. NaN without joins."),
                io.Float.Output(display_name="drift", tooltip="Lab distance by which colours drift; above 5 it is "
                                "visible. NaN for less than 3 seconds."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, joins: str | None = None) -> Any:
        try:
            read_joins(joins or "")
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, video: Any = None, images: torch.Tensor | None = None, reference_video: Any = None,
        reference_images: torch.Tensor | None = None, fps: float = 16.0, joins: str = "", window: int = 0,
        frames_per_latent: int = 1,
    ) -> Any:  # fmt: skip
        clip = read_clip(video, images, fps)
        compared = reference_video is not None or reference_images is not None
        reference = read_clip(reference_video, reference_images, fps) if compared else None
        figures, report = measure_clip(clip, reference, read_joins(joins), window, frames_per_latent, check_interrupted)
        return io.NodeOutput(describe_metrics(figures, report), metrics_json(figures, report), *astuple(figures))
