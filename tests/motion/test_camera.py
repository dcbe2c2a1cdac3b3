"""Cameras against closed forms, eases, and invalid cameras."""

from __future__ import annotations

import numpy as np
import pytest

from videogen import InputError
from videogen.motion import Camera, Drag, compile_motion, parse_camera
from videogen.motion.ease import EASES, points_along, progress
from videogen.motion.layer import apply

from .flow_camera import fit_camera

F, H, W = 9, 48, 64
POINTS = np.array([[32.0, 24.0], [10.5, 7.25], [50.0, 40.0]])
CENTRE = np.array([W / 2, H / 2])


def rotate(points: np.ndarray, degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return (points - CENTRE) @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]).T + CENTRE


CLOSED_FORMS = [
    pytest.param(Camera(), POINTS, id="no camera"),
    pytest.param(Camera(pan=8), POINTS - (8, 0), id="pan to the right: content moves 8 px to the left"),
    pytest.param(Camera(tilt=5), POINTS - (0, -5), id="tilt up: content moves down"),
    pytest.param(Camera(truck=6), POINTS - (6, 0), id="truck to the right: the background moves by the full distance"),
    pytest.param(Camera(zoom=1.25), (POINTS - CENTRE) * 1.25 + CENTRE, id="zoom about the centre"),
    pytest.param(
        Camera(dolly=0.2), (POINTS - CENTRE) / 0.8 + CENTRE, id="dolly a fifth of the way: magnification 1 / .8"
    ),
    pytest.param(Camera(roll=30), rotate(POINTS, -30), id="roll clockwise: content turns counter-clockwise"),
    pytest.param(Camera(pan=8, zoom=2), (POINTS - CENTRE) * 2 + CENTRE - (8, 0), id="the px of a pan are screen px"),
]


@pytest.mark.parametrize(("camera", "expected"), CLOSED_FORMS)
def test_closed_forms(camera: Camera, expected: np.ndarray) -> None:
    maps = camera.homographies(F, H, W)
    np.testing.assert_allclose(apply(maps[-1], POINTS), expected, atol=1e-9)
    assert np.array_equal(maps[0], np.eye(3))


def test_integer_pans_are_exact() -> None:
    plan = compile_motion(Camera(pan=8, tilt=-8), F, H, W)
    assert np.array_equal(plan.flow()[:, 0], np.full((F - 1, H, W), -1)) and np.array_equal(
        plan.flow()[:, 1], np.full((F - 1, H, W), -1)
    )


def test_a_lens_shifts_its_centre_by_the_pan_and_keeps_lines_straight() -> None:
    maps = Camera(pan=8, fov=60).homographies(F, H, W)
    np.testing.assert_allclose(apply(maps[-1], CENTRE), CENTRE - (8, 0), atol=1e-9)
    edge = apply(maps[-1], np.array([0.0, 24.0]))[0]
    assert edge < -8.5, "perspective: the trailing edge moves faster"


def test_orbit_fixes_the_centre_and_tilts_the_plane() -> None:
    maps = Camera(orbit=30).homographies(F, H, W)
    np.testing.assert_allclose(apply(maps[-1], CENTRE), CENTRE, atol=1e-9)
    top, bottom = (apply(maps[-1], np.array([[60.0, y], [4.0, y]])) for y in (0.0, 48.0))
    heights = (bottom - top)[:, 1]
    assert heights[0] > 48 > heights[1], "the camera swings to the right, where the plane comes nearer"


def test_nearer_layers_have_more_parallax() -> None:
    plan = compile_motion(Drag((20, 10, 30, 20), [(25, 15)], depth=0.5) + Camera(truck=6), F, H, W)
    np.testing.assert_allclose(plan.tracks()[0, -1] - plan.tracks()[0, 0], (-12, 0), atol=1e-5)
    np.testing.assert_allclose(plan.follow(POINTS)[:, -1], POINTS - (6, 0), atol=1e-5)


@pytest.mark.parametrize("fov", [None, 50.0])
def test_the_fitted_camera_is_the_requested_one(fov: float | None) -> None:
    fit = fit_camera(compile_motion(Camera(pan=4, tilt=-2, zoom=1.15, roll=6, ease="in_out", fov=fov), F, H, W).flow())
    assert fit.pan_px == pytest.approx(4, rel=0.1) and fit.tilt_px == pytest.approx(-2, rel=0.1)
    assert fit.zoom == pytest.approx(1.15, rel=0.02) and fit.roll_deg == pytest.approx(6, rel=0.02)


@pytest.mark.parametrize("ease", EASES)
def test_eases_rise_monotonically_from_0_to_1(ease: str) -> None:
    fractions = progress(ease, 25)
    assert fractions[0] == 0 and fractions[-1] == 1 and (np.diff(fractions) > 0).all()
    assert progress(ease, 1).tolist() == [0.0]
    slow = {"linear": (False, False), "in": (True, False), "out": (False, True), "in_out": (True, True)}[ease]
    assert tuple(bool(step < 0.5 / 24) for step in np.diff(fractions)[[0, -1]]) == slow


def test_a_path_is_traversed_at_constant_speed() -> None:
    points = points_along([(0, 0), (10, 0), (10, 30)], np.linspace(0, 1, 9))
    np.testing.assert_allclose(np.hypot(*np.diff(points, axis=0).T)[[0, 1, 3, 4]], 5)
    assert points[2].tolist() == [10, 0] and points_along([(3, 4)], np.array([0.0, 1.0])).tolist() == [[3, 4], [3, 4]]


BAD = [
    pytest.param({"zoom": 0}, "zoom=0 must be above 0", id="zoom 0"),
    pytest.param({"pan": float("nan")}, "pan=nan must be a finite number", id="NaN"),
    pytest.param({"tilt": "8"}, "tilt='8' must be a finite number", id="text"),
    pytest.param({"orbit": 90}, "orbit=90 must be above -90 and below 90", id="orbit edge on"),
    pytest.param({"dolly": 1}, "dolly=1 must be below 1", id="dolly onto the background"),
    pytest.param({"ease": "inout"}, "unknown ease 'inout'; did you mean 'in_out'", id="ease"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_values(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Camera(**values)  # type: ignore[arg-type]


def test_views_past_the_plane_are_refused() -> None:
    with pytest.raises(InputError, match="at frame 7 the camera sees past the layer's plane"):
        Camera(orbit=85).homographies(9, H, W)
    with pytest.raises(InputError, match=r"dolly=0.6 moves the camera through a layer at depth 0.5"):
        compile_motion(Drag((20, 10, 30, 20), [(25, 15)], depth=0.5) + Camera(dolly=0.6), F, H, W)


def test_camera_text() -> None:
    assert parse_camera("pan=8, zoom=1.2,ease=in_out") == Camera(pan=8, zoom=1.2, ease="in_out")
    cases = (
        ("pann=8", "unknown camera key 'pann'; did you mean 'pan'"), ("pan=left", "'left' in pan in camera"),
        ("pan=nan", "finite"), ("pan", "'pan' in camera 'pan' is not an option"), ("", "is not an option"),
        ("pan=1,pan=2", "pan is given twice"),
    )  # fmt: skip
    for text, message in cases:
        with pytest.raises(InputError, match=message):
            parse_camera(text)
