"""A motion as plain data and back, without loss; motions that cannot be stored are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from videogen import InputError
from videogen.motion import (
    Camera,
    CutDrag,
    Drag,
    Flow,
    Motion,
    Sprite,
    Tracks,
    Transfer,
    compile_motion,
    from_layers,
    to_layers,
)
from videogen.motion.control import MotionControl
from videogen.motion.latents import latent_mask
from videogen.motion.serialisation import is_global

PLAIN = [
    pytest.param(Camera(pan=8, zoom=1.2, ease="in_out"), id="camera"),
    pytest.param(Camera(), id="a camera at rest"),
    pytest.param(Drag((1, 2, 30, 40), [(12, 32), (50, 32)], scale=1.2), id="box"),
    pytest.param(Drag((1, 2, 30), [(12, 32)], rotate=30), id="disc"),
    pytest.param(Drag(((1, 2), (30, 2), (9, 40)), [(12, 32), (5, 5)]), id="polygon"),
    pytest.param(Drag(None, [(12, 32), (5, 5)]), id="no region"),
    pytest.param(Drag("/films/mask.png", [(12, 32)]), id="mask file"),
    pytest.param(
        CutDrag((Sprite((1, 2, 3, 4), [(1, 1)]), Sprite(None, [(5, 5), (6, 6)], image="/films/cat.png"))),
        id="sprites",
    ),
    pytest.param(Transfer("/films/clip.mp4", (0, 0, 9, 9)) + Drag(None, [(1, 1), (2, 2)]) + Camera(pan=1), id="a sum"),
    pytest.param(Flow("/films/flow"), id="flow"),
    pytest.param(Tracks("/films/tracks.npz"), id="tracks"),
]


@pytest.mark.parametrize("motion", PLAIN)
def test_layers_describe_the_entire_motion(motion: Motion) -> None:
    layers = json.loads(json.dumps(to_layers(motion)))
    assert to_layers(from_layers(layers)) == layers
    assert re.sub(r"PosixPath\(('[^']*')\)", r"\1", repr(from_layers(layers))) == repr(motion)


def test_files_are_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert to_layers(Transfer("clip.mp4")) == [{"kind": "transfer", "video": str(tmp_path / "clip.mp4")}]
    assert from_layers({"kind": "transfer", "video": "clip.mp4"}, tmp_path / "plans") == Transfer(
        tmp_path / "plans" / "clip.mp4"
    )


@pytest.mark.parametrize(
    "motion",
    [
        pytest.param(Drag(np.ones((4, 6), bool), [(1, 1)]), id="mask"),
        pytest.param(Flow(np.zeros((3, 2, 4, 4), np.float32)), id="flow"),
        pytest.param(Transfer(SimpleNamespace(frames=np.zeros((3, 4, 4, 3), np.uint8))), id="clip"),
        pytest.param(CutDrag((Sprite(None, [(1, 1)], image=np.zeros((2, 2, 4), np.uint8)),)), id="sprite"),
    ],
)
def test_arrays_are_described_but_not_read_back(motion: Motion) -> None:
    layers = to_layers(motion)
    json.dumps(layers)
    with pytest.raises(InputError, match="in Python, which is not stored"):
        from_layers(layers)


def test_descriptions_of_different_arrays_differ() -> None:
    ones, twos = (Flow(np.full((3, 2, 4, 4), value, np.float32)) for value in (1, 2))
    assert to_layers(ones) != to_layers(twos)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        pytest.param([], "list of layers", id="none"),
        pytest.param("camera", "list of layers", id="text"),
        pytest.param([{"kind": "camera", "pam": 3}], "pan", id="a typo"),
        pytest.param([{"kind": "camera"}, {"kind": "drag", "box": [1, 2, 3]}], "layer 2", id="which layer"),
        pytest.param([3], "kind", id="a number"),
    ],
)
def test_wrong_layers(layers: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_layers(layers)


@pytest.mark.parametrize(
    ("text", "control"),
    [
        ("warped_noise", MotionControl("warped_noise")),
        ("warped_noise:bipartite", MotionControl("warped_noise", "bipartite")),
        ("warped_noise:compat", MotionControl("warped_noise", "compat")),
        ("warped_noise:texture,cutoff=0.2", MotionControl("warped_noise", "texture", cutoff=0.2)),
        ("dual_clock", MotionControl("dual_clock")),
        ("dual_clock:0.9,0.5", MotionControl("dual_clock", weak=0.9, strong=0.5)),
    ],
)
def test_backend_specs(text: str, control: MotionControl) -> None:
    assert MotionControl.parse(text) == control
    assert MotionControl.parse(str(control)) == control


WRONG = [
    "warp",
    "warped_noise:bilinear",
    "dual_clock:0.9",
    "dual_clock:a,b",
    "dual_clock:0.5,0.9",
    "dual_clock:1,0.5",
    "dual_clock:0.9,0",
]
WRONG += [
    "warped_noise:texture,0.2",
    "warped_noise:texture,cutoff=wide",
    "warped_noise:texture,cutoff=0",
    "warped_noise:,cutoff=0.2",
]


@pytest.mark.parametrize("text", [*WRONG, ""])
def test_wrong_backends(text: str) -> None:
    with pytest.raises(InputError):
        MotionControl.parse(text)


@pytest.mark.parametrize(
    ("motion", "expected"),
    [
        (Drag((0, 0, 8, 8), [(4, 4), (20, 4)]), False),
        (Camera(pan=8), True),
        (Drag((0, 0, 8, 8), [(4, 4), (20, 4)]) + Camera(zoom=1.2), True),
        (Transfer(np.zeros((2, 8, 8, 3), np.uint8)), True),
        (Transfer(np.zeros((2, 8, 8, 3), np.uint8), region=(0, 0, 4, 4)), False),
    ],
)
def test_global_motions(motion: Motion, expected: bool) -> None:
    assert is_global(motion) is expected


def test_latent_mask_is_the_mean_in_space_and_the_maximum_in_time() -> None:
    plan = compile_motion(Drag((0, 0, 8, 8), [(4, 4), (20, 4)]), 9, 16, 32)
    mask = latent_mask(plan, spatial=8, temporal=4, single_first=True)
    assert mask.shape == (3, 2, 4)
    assert mask[0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]
    assert mask[1, 0, 1] == pytest.approx(1.0) and mask[2, 0, 2] == pytest.approx(1.0) and mask[2, 0, 0] == 0
    passing = compile_motion(Drag((0, 0, 4, 4), [(2, 2), (2, 2), (30, 2)]), 8, 16, 32)
    pooled = latent_mask(passing, spatial=8, temporal=4, single_first=False)
    assert (pooled >= latent_mask(passing, spatial=8, temporal=1, single_first=False)[3::4] - 1e-6).all()
    with pytest.raises(InputError, match="does not fit latents"):
        latent_mask(plan, spatial=8, temporal=4, single_first=False)
