"""Bad input to warped noise: each error names the value."""

from __future__ import annotations

import math

import pytest
import torch

from tests.schedulers.warping.test_warped_noise import Similar, still
from videogen.core.errors import InputError
from videogen.schedulers import WarpedNoise, warped_noise
from videogen.schedulers.warping.maps import FlowMaps


def with_nan() -> torch.Tensor:
    flow = still()
    flow[2, 1, 3, 3] = math.nan
    return flow


@pytest.mark.parametrize(("motion", "how", "message"), [
    pytest.param(with_nan(), {}, "from frame 2 to 3 has NaN", id="NaN"),
    pytest.param(still()[0], {}, r"\[2, 32, 48\] must be \[frames - 1, 2", id="one flow without its axis"),
    pytest.param(still().movedim(1, -1), {}, r"\[4, 32, 48, 2\] must be", id="channels last"),
    pytest.param(still(5, 30), {}, "height=30 .* use 24 or 32", id="height"),
    pytest.param(still(5, 32, 50), {"spatial": 16}, "width=50 .* use 48 or 64", id="width"),
    pytest.param(still(5, 4), {}, "height=4 .* use 8", id="smaller than a latent"),
    pytest.param(still(6), {}, "over 6 frames .* use 5 or 9 frames", id="frames that do not fit"),
    pytest.param(still(6), {"causal": False}, "over 6 frames .* use 4 or 8 frames", id="frames that do not fit groups"),
    pytest.param(still(3), {"causal": False}, "over 3 frames .* use 4 frames", id="too few frames"),
    pytest.param("left", {}, "motion=str has no flow", id="text"),
    pytest.param(
        Similar(), {"method": "bipartite", "temporal": 1}, "motion=Similar has no flow", id="maps for the flow method"
    ),
    pytest.param(
        still(), {"method": "textur"}, "unknown noise warping method 'textur'; did you mean 'texture'", id="method"
    ),
    pytest.param(still(), {"oversample": 4}, "oversample=4 .* method='bipartite'", id="the other method's setting"),
    pytest.param(still(), {"strength": 1.2}, "strength=1.2 must be between 0 and 1", id="strength"),
    pytest.param(still(), {"strength": math.nan}, "strength=nan must be between", id="strength of NaN"),
    pytest.param(still(), {"degradation": -0.1}, "degradation=-0.1 must be between 0 and 1", id="degradation"),
    pytest.param(still(), {"degradation": 0.5, "strength": 0.5}, "set the same thing", id="both"),
    pytest.param(still(), {"cutoff": 0.0}, "cutoff=0.0 must be above 0", id="cutoff of 0"),
    pytest.param(still(), {"temporal": 0}, "temporal=0 must be at least", id="temporal"),
    pytest.param(still(), {"channels": 0}, "channels=0 must be at least", id="channels"),
])  # fmt: skip
def test_bad_input_is_named(motion: object, how: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        warped_noise(motion, **how)


@pytest.mark.parametrize(("indices", "shape", "message"), [
    pytest.param([2], (16, 4, 6), "latent frame 2 is outside .* 0 to 1", id="a clip longer than the motion"),
    pytest.param([0], (16, 8, 6), "8 x 6 .* 64 x 48 px; this one has 32 x 48", id="another size"),
])  # fmt: skip
def test_frames_and_shapes_beyond_the_motion_are_refused(
    indices: list[int], shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        WarpedNoise(still()).frames(indices, shape)


def test_forward_and_backward_flow_must_match() -> None:
    with pytest.raises(InputError, match="backward flow"):
        FlowMaps(still(5), still(4))
