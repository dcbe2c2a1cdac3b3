"""Previews of latents against the frames that they are: mean error at latent resolution, in levels of 255."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tools.bench.preview import TARGETS, preview_errors
from videogen import Engine
from videogen.backbones.preview import LatentPreview


@pytest.mark.parametrize("name", ["embedded", "embedded-unet"])
def test_a_preview_has_the_colours_of_its_frames(name: str) -> None:
    backbone = Engine.load(name, device="cpu").backbone
    state = torch.random.get_rng_state()
    with torch.inference_mode():  # a caller may have switched gradients off
        preview = LatentPreview(backbone)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.mean(preview_errors(backbone, preview, clips=12)) <= TARGETS["mean_error"]
