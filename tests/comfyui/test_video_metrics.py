"""Video Metrics: figures whose values are known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.comfyui.hosts import Host
from videogen.comfyui.engine.metrics import measure_clip
from videogen.core.errors import InputError
from videogen.media.video import Video
from videogen.metrics.fidelity import ssim
from videogen.metrics.flicker import flicker


def _compare(frames: np.ndarray, check: Callable[[], None]) -> float:
    return ssim(frames, frames, check)


@pytest.fixture
def measure(comfy: Host) -> Any:
    node = comfy.load_nodes("video_metrics").VideoMetrics
    return lambda **inputs: node.execute(**inputs).result


def pan(count: int = 24, px: int = 2, size: int = 48) -> torch.Tensor:
    """A texture that moves to the left."""
    texture = np.random.default_rng(0).random((size // 4, size // 2, 3)).repeat(4, 0).repeat(4, 1)
    return torch.from_numpy(np.stack([texture[:, n * px : n * px + size] for n in range(count)])).float()


def test_figures_of_a_pan(measure: Any) -> None:
    report, found, psnr, ssim, motion, flicker, seam, drift = measure(images=pan(), joins="12", fps=8)
    assert motion == pytest.approx(2, rel=0.2) and flicker < 2 and 0.7 < seam < 1.25
    assert math.isnan(psnr) and math.isnan(ssim) and "PSNR" not in report and "motion" in report
    plain = json.loads(found)
    assert plain["psnr_db"] is None and plain["clip"]["seams"][0]["frame"] == 12
    assert drift == pytest.approx(plain["drift_de"])


def test_against_a_reference(measure: Any) -> None:
    clip = pan()
    _, found, psnr, ssim, *_ = measure(images=clip, reference_images=clip)
    assert psnr == math.inf and ssim == pytest.approx(1) and json.loads(found)["psnr_db"] == "infinite"
    other = (clip * 255).round() / 255
    other[:, :, :, 0] = ((clip[..., 0] * 255).round() + 3).clamp(0, 255) / 255
    psnr = measure(images=clip, reference_images=other)[2]
    error = (((clip * 255).round() - (other * 255).round()) ** 2).mean()
    assert psnr == pytest.approx(10 * math.log10(255**2 / float(error)), abs=1e-3)


def test_a_cut_is_a_visible_seam(measure: Any) -> None:
    clip = torch.cat([pan(12), 1 - pan(12)])
    report, *_, seam, _ = measure(images=clip, joins="12")
    assert seam > 1.25 and "jump at 12" in report


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({}, "nothing is connected", id="no clip"),
        pytest.param({"images": pan(2)}, "at least 3", id="two frames"),
        pytest.param({"images": pan(4), "joins": "9"}, "must be from 1 to 3", id="a join outside"),
        pytest.param({"images": pan(4), "joins": "x"}, "must be numbers of frames", id="a join that is not a number"),
        pytest.param({"images": pan(4), "reference_images": pan(5)}, "cannot be compared", id="another length"),
        pytest.param({"images": pan(4), "fps": float("nan")}, "fps=nan", id="a rate that is NaN"),
        pytest.param({"images": pan(4), "fps": float("inf")}, "fps=inf", id="an infinite rate"),
        pytest.param({"images": pan(4), "window": -5}, "window=-5 must be", id="a negative window"),
        pytest.param({"images": pan(4), "frames_per_latent": 0}, "frames_per_latent=0 must be", id="no frames"),
    ],
)
def test_a_clip_is_refused(measure: Any, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure(**inputs)


@pytest.mark.parametrize("measure", [pytest.param(flicker, id="flicker"), pytest.param(_compare, id="SSIM")])
def test_an_interruption_arrives_between_frames(measure: Callable[..., float]) -> None:
    checks: list[None] = []

    def check() -> None:
        checks.append(None)
        if len(checks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(np.zeros((8, 16, 16, 3), np.uint8), check)
    assert measure(np.zeros((8, 16, 16, 3), np.uint8), lambda: None) in (0, 1)


def test_each_frame_is_a_place_to_interrupt() -> None:
    checks: list[None] = []
    clip = Video((pan(8) * 255).byte().numpy())
    measure_clip(clip, check=lambda: checks.append(None))
    alone = len(checks)
    measure_clip(clip, clip, check=lambda: checks.append(None))
    assert alone >= 8 + 7 and len(checks) - alone >= alone + 8
