"""Registration of a camera from images: accurate on images with exact motion, and None where nothing can be
measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from tools.world import Scene, Thing, render
from videogen.core.errors import InputError
from videogen.metrics.registration import registered_camera
from videogen.motion import Camera, compile_motion
from videogen.techniques.motion_report import measure_motion

STAR = Thing("star", "red", "stays still")
FRAMES = 33


def first(texture: str, size: int = 64) -> np.ndarray:
    return render(Scene((STAR,), texture, None, 5), 1, size).frames[0]


def move(camera: Camera, image: np.ndarray) -> np.ndarray:
    return compile_motion(camera, FRAMES, *image.shape[:2]).preview(image, arrows=False)


CAMERAS = [
    pytest.param(Camera(pan=12), id="pan of .4 px per frame, which flow underestimates"),
    pytest.param(Camera(tilt=-12, ease="in_out"), id="tilt, eased"),
    pytest.param(Camera(zoom=1.35), id="zoom in"),
    pytest.param(Camera(zoom=0.75), id="zoom out: the edges are filled in"),
    pytest.param(Camera(pan=8, tilt=-6, zoom=1.2, roll=8), id="all together"),
    pytest.param(Camera(), id="no motion"),
]


@pytest.mark.parametrize("texture", ["checkered", "noisy"])
@pytest.mark.parametrize("camera", CAMERAS)
def test_the_camera_is_measured_within_a_fiftieth(camera: Camera, texture: str) -> None:
    fit = registered_camera(move(camera, first(texture)))
    assert fit is not None
    assert fit.pan_px == pytest.approx(camera.pan, rel=0.02, abs=0.1) and fit.tilt_px == pytest.approx(
        camera.tilt, rel=0.02, abs=0.1
    )
    assert np.log(fit.zoom) == pytest.approx(np.log(camera.zoom), rel=0.02, abs=0.002)
    assert fit.roll_deg == pytest.approx(camera.roll, rel=0.02, abs=0.1)


def test_a_pan_may_leave_the_first_frame_behind() -> None:
    coarse = np.random.default_rng(3).integers(0, 256, (11, 40, 3), np.uint8)
    wide = cv2.resize(coarse, (240, 66), interpolation=cv2.INTER_CUBIC)
    fit = registered_camera(np.stack([wide[:64, at : at + 64] for at in np.linspace(20, 116, FRAMES).astype(int)]))
    assert fit is not None
    assert (
        fit.pan_px == pytest.approx(96, rel=0.01)
        and fit.tilt_px == pytest.approx(0, abs=0.5)
        and fit.zoom == pytest.approx(1, abs=0.01)
    )


def test_a_small_moving_object_hardly_matters_and_a_masked_one_not_at_all() -> None:
    ground, object_mask = move(Camera(pan=6, zoom=1.1), first("checkered")), np.zeros((FRAMES, 64, 64), bool)
    for f in range(FRAMES):
        object_mask[f, 20:30, f : f + 10] = True
    frames = np.where(object_mask[..., None], np.uint8(250), ground)
    unmasked, masked = registered_camera(frames), registered_camera(frames, ~object_mask)
    assert unmasked is not None and masked is not None
    assert unmasked.pan_px == pytest.approx(6, rel=0.05) and unmasked.zoom == pytest.approx(1.1, rel=0.01)
    assert masked.pan_px == pytest.approx(6, rel=0.02) and masked.zoom == pytest.approx(1.1, rel=0.003)


@pytest.mark.parametrize("height, width", [(480, 720), (100, 37), (24, 24)])
def test_distances_are_in_px_of_the_clip(height: int, width: int) -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), np.uint8)
    image = np.kron(coarse, np.ones((6, 6, 1), np.uint8))[:height, :width]
    fit = registered_camera(compile_motion(Camera(pan=width / 10), 9, height, width).preview(image, arrows=False))
    assert fit is not None and fit.pan_px == pytest.approx(width / 10, rel=0.05)


def test_a_background_in_half_of_the_frame_suffices() -> None:
    mask = np.zeros((FRAMES, 64, 64), bool)
    mask[:, :, :26] = True
    fit = registered_camera(move(Camera(pan=6), first("checkered")), mask)
    assert fit is not None and fit.pan_px == pytest.approx(6, rel=0.01) and fit.zoom == pytest.approx(1, abs=0.003)


def _cut_in_the_middle() -> np.ndarray:
    return np.concatenate([move(Camera(pan=6), first("checkered"))[:16], move(Camera(pan=6), first("noisy"))[16:]])


UNMEASURABLE = [
    pytest.param(lambda: np.full((5, 32, 32, 3), 90, np.uint8), None, id="one colour"),
    pytest.param(
        lambda: np.tile((np.arange(32) // 4 % 2 * 90).astype(np.uint8)[None, None, :, None], (5, 32, 1, 3)),
        None,
        id="stripes",
    ),
    pytest.param(lambda: move(Camera(pan=4), first("noisy")), np.zeros((FRAMES, 64, 64), bool), id="no background"),
    pytest.param(_cut_in_the_middle, None, id="a cut"),
    pytest.param(lambda: np.random.default_rng(1).integers(0, 256, (9, 64, 64, 3), np.uint8), None, id="noise"),
    pytest.param(lambda: move(Camera(pan=1), first("checkered")[:8, :8]), None, id="an image of 8 px"),
]


@pytest.mark.parametrize(("frames", "mask"), UNMEASURABLE)
def test_no_camera_is_reported_where_it_cannot_be_measured(
    frames: Callable[[], np.ndarray], mask: np.ndarray | None
) -> None:
    assert registered_camera(frames(), mask) is None


CLIP = np.zeros((5, 32, 32, 3), np.uint8)
BAD = [
    pytest.param({"frames": CLIP[:1]}, "at least 2", id="one frame"),
    pytest.param({"frames": CLIP[..., 0]}, r"frames \[5, 32, 32\]", id="no colours"),
    pytest.param(
        {"frames": CLIP, "mask": np.ones((4, 32, 32), bool)}, r"mask \[4, 32, 32\]", id="mask of another length"
    ),
    pytest.param({"frames": CLIP / 255}, "float64 show no camera", id="not uint8"),
    pytest.param({"frames": CLIP, "mask": np.ones((5, 32, 32))}, "float64 does not fit", id="mask that is not bool"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        registered_camera(**arguments)


def test_the_camera_is_reported_where_the_background_allows_it() -> None:
    plan = compile_motion(Camera(pan=6), FRAMES, 64, 64)
    message = measure_motion(plan.preview(first("checkered"), arrows=False), plan)
    assert message["camera"]["pan_px"] == pytest.approx(6, rel=0.02) and message["camera"]["zoom"] == pytest.approx(
        1, abs=0.01
    )
    assert "camera" not in measure_motion(np.full((FRAMES, 64, 64, 3), 90, np.uint8), plan)
