"""Flow and track errors and dynamic degree: known values, order, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from videogen import InputError
from videogen.metrics.motion_errors import background_error, dynamic_degree, end_point_error, track_error

N, H, W = 3, 30, 40
ZERO = np.zeros((N, 2, H, W), np.float32)
SHIFT = ZERO + np.array([3, 4], np.float32)[:, None, None]
LEFT = np.zeros((N, H, W), bool)
LEFT[:, :, :10] = True


def test_a_known_error() -> None:
    error = end_point_error(SHIFT, ZERO)
    assert (error.mean_px, error.median_px, error.outliers, error.fraction, error.floor_px) == (5, 5, 1, 1, None)
    assert error.angular_deg == pytest.approx(np.rad2deg(np.arctan(5)))
    assert end_point_error(SHIFT, SHIFT).mean_px == 0 == end_point_error(SHIFT, SHIFT).outliers
    assert end_point_error(SHIFT, SHIFT).angular_deg == pytest.approx(0, abs=1e-5)


def test_masks_select_pixels_and_references_give_the_floor() -> None:
    flow = np.where(LEFT[:, None], SHIFT, ZERO)
    inside = end_point_error(flow, SHIFT, LEFT, reference=SHIFT + np.float32(0.3))
    assert inside.mean_px == 0 and inside.fraction == 0.25 and inside.floor_px == pytest.approx(0.3 * 2**0.5, rel=1e-4)
    assert background_error(flow, LEFT).mean_px == 0 and background_error(flow, ~LEFT).mean_px == 5
    assert background_error(flow, LEFT * 0.7).mean_px == 0 and background_error(flow, LEFT, SHIFT).mean_px == 5


def test_tracks() -> None:
    target = np.zeros((2, 4, 2), np.float32)
    tracks = target + np.array([[[0, 0], [3, 4], [6, 8], [0, 20]]], np.float32)
    error = track_error(tracks, target)
    assert (error.mean_px, error.median_px, error.final_px) == (8.75, 7.5, 20)
    visible = np.array([[True, True, True, False]] * 2)
    assert track_error(tracks, target, visible).final_px == 10 and track_error(tracks, target, visible).mean_px == 5


def test_dynamic_degree_uses_the_fastest_twentieth() -> None:
    flow = ZERO.copy()
    flow[:, 0, :, :2] = 10
    degree = dynamic_degree(flow)
    assert (degree.fastest_px, degree.mean_px, degree.fraction_of_diagonal) == (10, 0.5, 0.2) and dynamic_degree(
        ZERO
    ).fastest_px == 0


PAIR = np.zeros((2, 4, 2))
BAD = [
    pytest.param(
        lambda: end_point_error(SHIFT, ZERO[:2]),
        r"flows \[3, 2, 30, 40\] and \[2, 2, 30, 40\]",
        id="a different length",
    ),
    pytest.param(lambda: end_point_error(ZERO[:0], ZERO[:0]), "not empty", id="no flow"),
    pytest.param(lambda: end_point_error(SHIFT * np.nan, ZERO), "flow with 7200 NaN", id="NaN"),
    pytest.param(lambda: end_point_error(SHIFT, ZERO, ~LEFT & LEFT), "the mask is empty", id="empty mask"),
    pytest.param(lambda: end_point_error(SHIFT, ZERO, LEFT[:, :9]), "the mask is bool", id="mask of another size"),
    pytest.param(lambda: background_error(SHIFT, np.ones((N, H, W))), "the mask is empty", id="no background"),
    pytest.param(lambda: track_error(PAIR, PAIR[:, :3]), "both need", id="tracks of another length"),
    pytest.param(lambda: track_error(PAIR, PAIR, np.zeros((2, 4))), "track 0 is visible in no frame", id="hidden"),
    pytest.param(lambda: track_error(PAIR, PAIR, np.ones((2, 3))), "visible is", id="visibility's shape"),
    pytest.param(
        lambda: track_error(np.full((1, 1, 2), np.nan), np.zeros((1, 1, 2))), "tracks with 1 NaN", id="NaN tracks"
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_refusals(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
