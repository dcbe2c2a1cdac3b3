"""AnimateDiff's sizes: latents that the UNet's levels do not halve evenly."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AnimateDiffPipeline

from videogen import Engine
from videogen.backbones.loading import dtype_option
from videogen.backbones.registry import EMBEDDED


def test_any_multiple_of_the_vae_s_compression_gives_the_library_s_frames() -> None:
    """72 x 40 px are latents of 9 x 5; only multiples of 16 px are halved evenly by this UNet."""
    engine = Engine.load("embedded-unet", device="cpu")
    assert engine.backbone.geometry.multiple == 8
    video = engine.generate(
        "a red ball", frames=3, size=(72, 40), steps=2, guidance_scale=4.0, seed=3, noise="diffusers"
    )
    pipeline = AnimateDiffPipeline.from_pretrained(EMBEDDED["embedded-unet"], **dtype_option(torch.float32))
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a red ball", num_frames=3, width=72, height=40, num_inference_steps=2, guidance_scale=4.0, output_type="np",
        generator=torch.Generator().manual_seed(3),
    ).frames[0]  # fmt: skip
    assert np.array_equal(video.frames, np.round(255 * expected).astype(np.uint8))
