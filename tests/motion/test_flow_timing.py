"""Flow at other times than those between which it was measured: it is composed along the motion."""

from __future__ import annotations

import numpy as np
import pytest

from videogen.motion import Drag, FlowPair, Tracks, Transfer, compile_motion
from videogen.motion.flow_images import draw_flow
from videogen.motion.flow_timing import resample_flow
from videogen.motion.interpolation import pixel_grid

N, H, W = 4, 24, 32


def zoom(factor: float = 1.05) -> FlowPair:
    """Each step magnifies by a factor about the centre: steps do not add up, they are composed."""
    away = np.moveaxis(pixel_grid(H, W) - (W / 2, H / 2), -1, 0).astype(np.float32)
    forward, backward = (np.stack([(f - 1) * away] * N) for f in (factor, 1 / factor))
    valid = np.ones((N, H, W), bool)
    return FlowPair(forward, backward, valid, valid)


@pytest.mark.parametrize(
    ("places", "factors"),
    [
        pytest.param([0, 1, 2, 3, 4], [1.05] * 4, id="as measured"),
        pytest.param([0, 2, 4], [1.05**2] * 2, id="two steps in one"),
        pytest.param([0, 4], [1.05**4], id="all in one"),
        pytest.param([0, 0.5, 1.0], [1.025, 1.025], id="halves of a step"),
        pytest.param([3.5, 4.5], [1.025], id="beyond the last frame nothing moves"),
        pytest.param([2], [], id="one frame"),
    ],
)
def test_flow_between_other_times(places: list[float], factors: list[float]) -> None:
    forward, backward, valid = resample_flow(zoom(), np.array(places, float))
    assert forward.shape == backward.shape == (len(factors), 2, H, W) and valid.shape == (len(factors), H, W)
    away = np.moveaxis(pixel_grid(H, W) - (W / 2, H / 2), -1, 0)
    inner = (..., slice(5, -5), slice(6, -6))  # where no position beyond the border is read
    for step, factor in enumerate(factors):
        np.testing.assert_allclose(forward[step][inner], ((factor - 1) * away)[inner], atol=0.02)
        np.testing.assert_allclose(backward[step][inner], ((1 / factor - 1) * away)[inner], atol=0.02)
    assert valid.all()


def test_measured_flow_is_used_as_it_is() -> None:
    pair = zoom()
    forward, backward, _ = resample_flow(pair, np.arange(N + 1.0))
    assert np.array_equal(forward, pair.forward) and np.array_equal(backward, pair.backward)


def test_flow_that_cannot_be_trusted_stays_so() -> None:
    pair = zoom()
    pair.backward_valid[1, 10:14, 14:18] = False
    _, _, valid = resample_flow(pair, np.array([0.0, 4.0]))
    assert not valid[0, 12, 16] and valid[0, 2:6].all()


def test_a_pair_is_compiled_as_its_video() -> None:
    plan = compile_motion(Transfer(zoom(), timing="stretch"), 2 * N + 1, H, W)
    moved = plan.follow(np.array([[W / 2 + 8, H / 2 + 4]]))[0]
    np.testing.assert_allclose(moved[-1] - (W / 2, H / 2), np.array([8, 4]) * 1.05**N, atol=0.1)


def test_tracks_are_scaled_and_spread() -> None:
    path = np.stack([np.array([[10.0, 10.0]]), np.array([[30.0, 20.0]])])
    tracks = compile_motion(Tracks(path, size=(2 * W, 2 * H), timing="stretch"), 5, H, W).tracks()[0]
    np.testing.assert_allclose(tracks, [(5 + 2.5 * f, 5 + 1.25 * f) for f in range(5)], atol=1e-3)


def test_the_points_of_a_timed_path_are_equally_spaced_in_time() -> None:
    path = [(4, 4), (4, 4), (20, 4)]
    timed, even = (
        compile_motion(Drag((4, 4, 3), path, ease=ease), 5, H, W).tracks()[0] for ease in ("timed", "linear")
    )
    np.testing.assert_allclose(timed[:, 0] - timed[0, 0], [0, 0, 0, 8, 16], atol=1e-3)
    np.testing.assert_allclose(even[:, 0] - even[0, 0], [0, 4, 8, 12, 16], atol=1e-3)


def test_flow_is_drawn_by_direction_and_length() -> None:
    flow = np.zeros((1, 2, 1, 4), np.float32)
    flow[0, 0, 0] = np.array([0.0, 1.0, 0.5, -1.0])
    white, right, half, left = draw_flow(flow, largest_px=1.0)[0, 0].astype(int)
    assert tuple(white) == (255, 255, 255) and tuple(right) == (255, 0, 0) and tuple(half) == (255, 128, 128)
    assert left[0] < 30 and min(left[1:]) > 100, "the opposite hue"


def test_the_background_of_a_preview_is_used() -> None:
    first, plate = np.full((H, W, 3), 200, np.uint8), np.full((H, W, 3), 50, np.uint8)
    frames = compile_motion(Drag((8, 8, 4), [(8, 8), (20, 8)]), 3, H, W).preview(first, arrows=False, background=plate)
    assert (frames[-1, 8, 8] == 50).all() and (frames[-1, 8, 20] == 200).all()
