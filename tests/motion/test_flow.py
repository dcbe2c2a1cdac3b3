"""Optical flow: DIS against the world's exact flow, consistency, the cache, and missing RAFT requirements."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from tools.world.geometry import flow as exact_flow
from tools.world.render import render
from tools.world.scene import CAMERAS, Scene, Thing
from videogen import InputError, UnsupportedError
from videogen.metrics.motion_errors import end_point_error
from videogen.motion import Camera, Drag, FlowPair, compile_motion, consistent, estimate, flow_both_ways
from videogen.motion.flow_cache import FlowCache
from videogen.motion.flow_raft import build_raft

from .flow_camera import fit_camera

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (3, 40, 48, 3), dtype=np.uint8)

# Documented error floors of DIS medium: mean px over the image and over the object, at 64 px and 16 fps.
FLOORS = [
    *(
        pytest.param(Scene((Thing("square", "red", "stays still"),), "noisy", camera, 3), 0.25, 0.15, id=camera)
        for camera in CAMERAS
    ),
    pytest.param(Scene((Thing("star", "red", "moves right"),), "noisy", None, 3), 0.15, 0.45, id="moves right"),
    pytest.param(Scene((Thing("star", "red", "spins"),), "noisy", None, 3), 0.15, 0.45, id="spins"),
    pytest.param(Scene((Thing("star", "red", "grows"),), "noisy", None, 3), 0.05, 0.15, id="grows"),
]


@pytest.mark.parametrize(("scene", "image_floor", "object_floor"), FLOORS)
def test_dis_measures_the_flow_of_the_world(scene: Scene, image_floor: float, object_floor: float) -> None:
    clip, target = render(scene, 7, 64), exact_flow(scene, 7, 64)
    pair = flow_both_ways(clip.frames)
    assert end_point_error(pair.forward, target).mean_px < image_floor
    assert end_point_error(pair.forward, target, clip.masks[0, :-1] > 0.5).mean_px < object_floor


TEXTURE = render(Scene((Thing("ball", "red", "stays still"),), "noisy", None, 5), 1, 64).frames[0]


CAMERA_MOTIONS = [Camera(pan=8), Camera(tilt=-8, ease="in_out"), Camera(zoom=1.2), Camera(pan=6, zoom=0.85, roll=8)]


@pytest.mark.parametrize("camera", CAMERA_MOTIONS, ids=str)
def test_the_flow_of_a_preview_agrees_with_its_plan(camera: Camera) -> None:
    """The measured camera is within a tenth of the requested one, and the floor is reported next to the error.

    Over every fourth frame: DIS underestimates motion far below a pixel per frame.
    """
    plan = compile_motion(camera, 9, 64, 64)
    preview = plan.preview(TEXTURE, arrows=False)
    measured, steps = flow_both_ways(preview), flow_both_ways(preview[::4], preset="fast")
    fit = fit_camera(steps.forward, steps.forward_valid)
    assert fit.roll_deg == pytest.approx(camera.roll, rel=0.1, abs=0.2)
    assert fit.pan_px == pytest.approx(camera.pan, rel=0.1, abs=0.4) and fit.tilt_px == pytest.approx(
        camera.tilt, rel=0.1, abs=0.4
    )
    assert fit.zoom - 1 == pytest.approx(camera.zoom - 1, rel=0.1, abs=0.01)
    error = end_point_error(np.zeros_like(plan.flow()), plan.flow(), reference=measured.forward)
    assert error.floor_px is not None and error.floor_px < 0.2 < error.mean_px


def test_a_dragged_object_moves_in_the_measured_flow() -> None:
    plan = compile_motion(Drag((26, 26, 38, 38), [(32, 32), (48, 32)]), 9, 64, 64)
    noise = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8), (0, 0), 1)
    measured = flow_both_ways(
        plan.preview(noise, arrows=False), preset="fast"
    ).forward  # `medium` smooths such a small object away
    assert end_point_error(measured, plan.flow(), plan.masks()[1, :-1] > 0.5).median_px < 0.6


def test_consistency_fails_where_something_is_covered_or_leaves() -> None:
    flow, back = np.zeros((2, 20, 20), np.float32), np.zeros((2, 20, 20), np.float32)
    flow[0, :, 5:10], back[0, :, 9:14] = 4, -4
    expected = np.ones((20, 20), bool)
    expected[:, 10:14] = False  # static, and covered by the object
    assert np.array_equal(consistent(flow, back), expected)
    out = np.zeros((2, 20, 20), np.float32)
    out[0] = 8
    assert np.array_equal(consistent(out, -out)[0], np.arange(20) + 0.5 + 8 <= 20)


@pytest.mark.parametrize("size", [(4, 4), (7, 90), (16, 16)], ids=str)
def test_small_images_have_flow(size: tuple[int, int]) -> None:
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.abs(estimate(image, image)).max() < 0.5 and estimate(image, image).shape == (2, *size)


def test_a_single_frame_has_no_neighbours() -> None:
    pair = flow_both_ways(NOISE[:1])
    assert pair.forward.shape == (0, 2, 40, 48) and pair.backward_valid.shape == (0, 40, 48)


BAD = [
    pytest.param(
        lambda: estimate(NOISE[0], NOISE[1][:20]), "two images of the same size, not of 48x40 and 48x20", id="sizes"
    ),
    pytest.param(lambda: estimate(NOISE[0] / 255, NOISE[1]), r"uint8 \[height, width, 3\], not float64", id="floats"),
    pytest.param(lambda: flow_both_ways(NOISE[:0]), "not empty", id="no frames"),
    pytest.param(
        lambda: flow_both_ways(NOISE, method="diss"), "unknown flow method 'diss'; did you mean 'dis'", id="method"
    ),
    pytest.param(lambda: flow_both_ways(NOISE, preset="slow"), "unknown flow preset 'slow'", id="preset"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_raft_reports_missing_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UnsupportedError, match="RAFT needs torchvision, which is not installed"):
        flow_both_ways(NOISE, method="raft")


class FakeRaft(torch.nn.Module):
    """Accepts RAFT's inputs and returns a constant flow."""

    def __init__(self, weights: object, progress: bool) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(2))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
        assert first.shape == second.shape == (1, 3, 128, 136) and first.abs().max() <= 1
        return [self.shift.view(1, 2, 1, 1).expand(1, 2, 128, 136)]


def test_raft_runs_with_local_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    weights = SimpleNamespace(C_T_SKHT_V2=SimpleNamespace(url="https://host.example/raft_large.pth"))
    fake = SimpleNamespace(Raft_Large_Weights=weights, raft_large=FakeRaft)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", fake)
    with pytest.raises(UnsupportedError, match=r"RAFT's weights .* are missing"):
        build_raft()
    (tmp_path / "checkpoints").mkdir()
    torch.save({"shift": torch.tensor([3.0, -2.0])}, tmp_path / "checkpoints" / "raft_large.pth")
    flow = build_raft()(np.zeros((40, 130, 3), np.uint8), np.zeros((40, 130, 3), np.uint8))
    assert flow.shape == (2, 40, 130) and flow[:, 0, 0].tolist() == [3, -2]


def equal(a: FlowPair, b: FlowPair) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_cached_flow_equals_the_computed_flow(separate_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = flow_both_ways(NOISE)
    assert len(list(separate_cache.glob("*.flow"))) == 4
    monkeypatch.setattr("videogen.motion.flow._estimator", lambda method, preset: pytest.fail)
    assert equal(flow_both_ways(NOISE), first)


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "long"])
def test_damaged_entries_are_recomputed(damage: str, separate_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = flow_both_ways(NOISE[:2])
    stored = {path: path.read_bytes() for path in separate_cache.glob("*.flow")}
    for path, content in stored.items():
        flipped = content[:90] + bytes([content[90] ^ 1]) + content[91:]
        path.write_bytes({"flipped": flipped, "short": content[:-3], "empty": b"", "long": content + b"0"}[damage])
    assert equal(flow_both_ways(NOISE[:2]), first) and "damaged" in caplog.text
    assert {path: path.read_bytes() for path in stored} == stored


def test_the_cache_respects_its_limit_and_works_without_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = FlowCache(tmp_path / "small", limit_bytes=40_000)
    flow_both_ways(NOISE, cache=small)
    assert sum(path.stat().st_size for path in (tmp_path / "small").iterdir()) <= 40_000
    (tmp_path / "file").write_bytes(b"")
    pair = flow_both_ways(NOISE, cache=FlowCache(tmp_path / "file" / "inside"))
    assert equal(pair, flow_both_ways(NOISE, cache=False)) and caplog.text.count("not cached on disk") == 1


def test_each_method_and_image_has_its_own_entry(separate_cache: Path) -> None:
    flow_both_ways(NOISE[:2])
    flow_both_ways(NOISE[:2], preset="fast")
    flow_both_ways(NOISE[1:])
    assert len(list(separate_cache.glob("*.flow"))) == 6
