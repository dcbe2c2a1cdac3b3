"""Previews of latents against the frames that they are: mean error at latent resolution, in levels of 255."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tools.world import held_out, render
from videogen import Engine
from videogen.backbones.preview import LatentPreview
from videogen.core.frame_latent_map import FrameLatentMap


@pytest.mark.parametrize(("name", "most"), [("embedded", 24), ("embedded-unet", 26)])
def test_a_preview_has_the_colours_of_its_frames(name: str, most: float) -> None:
    backbone = Engine.load(name, device="cpu").backbone
    latent_map, preview = FrameLatentMap.from_geometry(backbone.geometry), LatentPreview(backbone)
    errors = []
    for scene in held_out()[:8]:
        frames = render(scene).frames[: latent_map.frame_count(3)]
        with torch.inference_mode():
            images = preview(backbone.encode(torch.from_numpy(frames)[None]))
        for latent, image in enumerate(images):
            span = latent_map.frames_of(latent)
            height, width = image.shape[:2]
            cells = frames[span.start : span.stop].reshape(-1, height, 64 // height, width, 64 // width, 3)
            errors.append(np.abs(image - cells.mean((0, 2, 4))).mean())
    assert np.mean(errors) <= most
