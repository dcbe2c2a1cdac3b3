"""Several control networks: each takes the video of its number, as the pipeline's own call does."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.tiny import parts
from tests.tiny.animatediff import controlnet
from tests.tiny.table import TinyCall, load_rows
from videogen import Engine, InputError

ROW = load_rows()["AnimateDiffControlNetPipeline"]


def build_with_two() -> Any:
    pipeline = ROW.build()
    nets = [pipeline.controlnet, controlnet()]
    pipeline.register_modules(controlnet=diffusers.MultiControlNetModel(nets))
    return pipeline


def test_two_networks_take_two_videos_in_the_order_of_their_numbers() -> None:
    frames, width, height = ROW.sizes[0]
    call = TinyCall(frames, width, height)
    own = ROW.call(call)
    videos = [parts.clip(frames, width, height), list(reversed(parts.clip(frames, width, height)))]
    own = {**own, "conditioning_frames": videos}
    reference = build_with_two()(**own, generator=torch.Generator().manual_seed(3), output_type="np").frames[0]
    engine = Engine.from_pipeline(build_with_two())
    settings: dict[str, Any] = {
        "frames": frames, "size": (width, height), "steps": call.steps, "guidance_scale": own["guidance_scale"],
        "negative_prompt": own["negative_prompt"], "seed": 3, "noise": "diffusers",
    }  # fmt: skip
    made = engine.generate(own["prompt"], control={"1": videos[1], "0": videos[0]}, **settings)
    assert np.array_equal(made.frames, (np.asarray(reference) * 255).round().astype(np.uint8))
    assert engine.backbone.accepts == engine.backbone.needs == ("control:0", "control:1")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(("0",), "needs control 1; give it with --control 1=FILE", id="one of two"),
        pytest.param(("depth", "pose"), "unknown control 'depth'; known: 0, 1", id="names"),
        pytest.param(("0", "1", "2"), "unknown control '2'; .*known: 0, 1", id="three"),
    ],
)
def test_two_networks_need_two_videos(names: tuple[str, ...], message: str) -> None:
    frames, width, height = ROW.sizes[0]
    clip = parts.clip(frames, width, height)
    with pytest.raises(InputError, match=message):
        Engine.from_pipeline(build_with_two()).generate(
            "a ball", control=dict.fromkeys(names, clip), frames=frames, size=(width, height)
        )
