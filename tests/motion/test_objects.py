"""Outlines of dragged objects: a drag moves the object that it points at in full, and puts a draft's onto its path."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from videogen.motion import Camera, Drag, compile_motion
from videogen.motion.layer import DEFAULT, GIVEN, SHAPE
from videogen.motion.objects import find_object, fit_regions, search_object
from videogen.motion.region import coverage

SIZE, START = 64, (20, 32)
DISC = coverage((*START, SIZE / 6), SIZE, SIZE)
RNG = np.random.default_rng(0)
GROUNDS = {
    "black": np.zeros((SIZE, SIZE, 3), np.uint8),
    "gray": np.full((SIZE, SIZE, 3), 128, np.uint8),
    "noise": (110 + RNG.normal(0, 12, (SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8),
    "stripes": np.repeat(np.where(np.arange(SIZE) // 4 % 2, 90, 140)[None, :, None], SIZE, 0)
    .repeat(3, 2)
    .astype(np.uint8),
}


def draw(ground: str, shape: str, centre: tuple[int, int], radius: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a red object, and the object's mask."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if shape == "ball":
        cv2.circle(mask, centre, radius, 1, -1)
    else:
        mask[centre[1] - radius : centre[1] + radius, centre[0] - radius : centre[0] + radius] = 1
    frame = np.where(mask[..., None] > 0, np.array([230, 40, 40], np.uint8), GROUNDS[ground])
    return frame.astype(np.uint8), mask > 0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize(
    ("shape", "centre", "radius"),
    [
        pytest.param("ball", START, 14, id="larger than the disc"),
        pytest.param("ball", (25, 28), 12, id="next to the path's start"),
        pytest.param("square", (18, 34), 8, id="smaller than the disc"),
        pytest.param("ball", (8, 32), 14, id="across the frame's border"),
    ],
)
def test_the_complete_object_is_found(ground: str, shape: str, centre: tuple[int, int], radius: int) -> None:
    frame, mask = draw(ground, shape, centre, radius)
    start = centre if centre[0] < 10 else START
    found = find_object(frame, coverage((*start, SIZE / 6), SIZE, SIZE))
    assert found is not None and overlap(found, mask) > 0.9


@pytest.mark.parametrize("ground", GROUNDS)
def test_no_object_is_found_on_an_empty_background(ground: str) -> None:
    assert find_object(GROUNDS[ground], DISC) is None
    frame, _ = draw(ground, "ball", (52, 12), 8)
    assert find_object(frame, DISC) is None, "the object is elsewhere"


@pytest.mark.parametrize(
    ("region", "outlines", "fitted"),
    [
        pytest.param(None, (DEFAULT,), True, id="the default disc"),
        pytest.param((*START, 6.0), (DEFAULT,), False, id="a disc of the user's"),
        pytest.param((*START, 6.0), (DEFAULT, SHAPE), True, id="the user's in a draft"),
        pytest.param(DISC > 0.5, (DEFAULT, SHAPE), False, id="a mask is never replaced"),
    ],
)
def test_which_regions_are_replaced(region: object, outlines: tuple[str, ...], fitted: bool) -> None:
    frame, mask = draw("gray", "ball", (24, 30), 13)
    plan = compile_motion(Drag(region, [START, (44, 40)]), 9, SIZE, SIZE)
    result, objects = fit_regions(plan, frame, outlines=outlines)
    covered = result.layers[1].coverage
    assert covered is not None and (overlap(covered > 0.5, mask) > 0.8) == fitted == bool(objects)
    assert np.array_equal(result.layers[1].to_screen, plan.layers[1].to_screen)
    assert not fitted or result.layers[1].outline == GIVEN


@pytest.mark.parametrize(
    "camera", [None, Camera(zoom=1.3), Camera(pan=8, roll=15)], ids=["static", "zoom", "pan, roll"]
)
def test_a_draft_s_object_is_moved_onto_the_path(camera: Camera | None) -> None:
    """Off the path by 5 px in the draft, and larger than the disc: the reference shows all of it, on the path."""
    frame, mask = draw("gray", "ball", (24, 29), 12)
    drag = Drag(path=[START, (40, 40)])
    plan = compile_motion(drag if camera is None else drag + camera, 9, SIZE, SIZE)
    fitted, (found,) = fit_regions(plan, frame, outlines=(DEFAULT, SHAPE), recentre=True)
    assert found.area_px == pytest.approx(mask.sum(), rel=0.1) and found.shift_px == pytest.approx((-4.5, 2.5), abs=0.6)
    assert np.allclose(fitted.tracks(), plan.tracks(), atol=1e-3), "the path is still the target"
    for f, clip in enumerate(fitted.preview(frame, arrows=False)):
        red = (clip[..., 0].astype(int) - clip[..., 1] > 80).astype(np.float64)
        ys, xs = np.nonzero(red)
        expected = plan.tracks()[0, f]
        assert np.hypot(xs.mean() + 0.5 - expected[0], ys.mean() + 0.5 - expected[1]) < 1.0
        scale = 1.0 if camera is None else camera.zoom ** (f / 8)
        assert red.sum() == pytest.approx(mask.sum() * scale**2, rel=0.15), "complete"


def test_of_two_drags_on_one_object_the_upper_one_takes_it() -> None:
    frame, _ = draw("gray", "ball", START, 14)
    plan = compile_motion(Drag(path=[START, (40, 40)]) + Drag(path=[(24, 34), (24, 10)]), 9, SIZE, SIZE)
    fitted, (lower, upper) = fit_regions(plan, frame)
    assert upper.area_px is not None and lower.area_px is None
    assert fitted.layers[1] is plan.layers[1]


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("enlarged", [1, 4], ids=["64 px", "256 px"])
def test_the_nearest_object_is_searched_for(ground: str, enlarged: int) -> None:
    frame, mask = draw(ground, "ball", (50, 14), 9)
    size = (SIZE * enlarged, SIZE * enlarged)
    frame, large = (cv2.resize(a, size, interpolation=cv2.INTER_NEAREST) for a in (frame, mask.astype(np.uint8)))
    found = search_object(frame, enlarged * np.array([20.0, 40.0]))
    assert found is not None and overlap(found, large > 0) > 0.85
    if ground != "stripes":  # of which each is an object
        assert search_object(GROUNDS[ground], np.array([20.0, 40.0])) is None


def test_a_region_that_covers_the_image_has_no_outline() -> None:
    frame, _ = draw(next(iter(GROUNDS)), "ball", START, 14)
    assert find_object(frame, np.ones(frame.shape[:2])) is None
