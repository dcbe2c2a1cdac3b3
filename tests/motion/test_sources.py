"""Transfer, Tracks and Flow: against the world's exact motion, and sources that do not fit the clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from tools.world.geometry import flow as exact_flow
from tools.world.render import render
from tools.world.scene import Scene, Thing
from videogen import InputError
from videogen.motion import Camera, Flow, Motion, Tracks, Transfer, compile_motion, write_flow
from videogen.motion.interpolation import pixel_grid
from videogen.motion.splines import thin_plate
from videogen.motion.tracing import invert

F = 13
SCENE = Scene((Thing("star", "red", "moves right"),), "noisy", None, 3)
CLIP, EXACT = render(SCENE, F, 64), exact_flow(SCENE, F, 64)
PANNED = render(Scene((Thing("ball", "red", "stays still"),), "noisy", "pans left", 5), F, 64)
GRID = pixel_grid(64, 64)
REGION = CLIP.masks[0, 0]


def test_exact_flow_is_traced_back_to_the_first_frame() -> None:
    """Pixels of the object are traced back to where they were, background that was visible before to itself; the rest
    is first visible in a later frame."""
    plan = compile_motion(Flow(EXACT), F, 64, 64)
    where, first_visible = plan.layers[0].texture(GRID, F - 1)
    foreground, background = CLIP.masks[0, -1] > 0.9, CLIP.masks[0, -1] < 0.01
    travel = CLIP.tracks[0, -1] - CLIP.tracks[0, 0]
    assert (first_visible[foreground] == 0).mean() > 0.98
    assert np.abs(where - (GRID - travel))[foreground & (first_visible == 0)].max() < 0.15
    assert np.abs(where - GRID)[background & (first_visible == 0)].max() == 0
    uncovered = background & (CLIP.masks[0].max(0) > 0.9)
    assert (first_visible[uncovered] > 0).mean() > 0.9 and plan.holes_at(F - 1)[uncovered].mean() > 0.9
    np.testing.assert_allclose(plan.follow(CLIP.tracks[0, :1])[0], CLIP.tracks[0], atol=1e-3)


def test_inverted_flow_is_an_inverse() -> None:
    ys, xs = np.mgrid[0:40, 0:40] / 40
    forward = np.stack([3 * np.sin(3 * xs) + ys, 2 * np.cos(4 * ys)])[None].astype(np.float32)
    back, valid = invert(forward, np.ones((1, 40, 40), bool))
    source = pixel_grid(40, 40) + np.moveaxis(back[0], 0, -1)
    from videogen.motion.interpolation import bilinear

    returned = source + bilinear(np.moveaxis(forward[0], 0, -1).astype(float), source)
    assert valid.mean() > 0.95 and np.abs(returned - pixel_grid(40, 40))[valid[0]].max() < 0.02


def test_a_region_moves_over_a_static_background() -> None:
    plan = compile_motion(Flow(EXACT, region=REGION), F, 64, 64)
    overlap = (
        np.minimum(plan.masks()[1, -1], CLIP.masks[0, -1]).sum()
        / np.maximum(plan.masks()[1, -1], CLIP.masks[0, -1]).sum()
    )
    assert overlap > 0.85 and np.array_equal(plan.map_at(F - 1), GRID)
    np.testing.assert_allclose(plan.tracks()[0, -1], CLIP.tracks[0, -1], atol=1)


@pytest.mark.parametrize("video", [PANNED.frames, SimpleNamespace(frames=PANNED.frames)], ids=["frames", "clip"])
def test_transfer_measures_the_camera(video: object) -> None:
    plan = compile_motion(Transfer(video), F, 64, 64)
    expected = 0.45 * (F - 1)
    middle = plan.map_at(F - 1)[16:48, 16:48] - GRID[16:48, 16:48]
    assert np.median(middle[..., 0]) == pytest.approx(-expected, abs=0.8) and np.median(
        middle[..., 1]
    ) == pytest.approx(0, abs=0.4)


@pytest.mark.parametrize(("rate", "pace"), [(32, 2.0), (16, 1.0), (12, 0.75), (8, 0.5)])
def test_a_driving_video_plays_at_its_rate(rate: float, pace: float) -> None:
    count = round((F - 1) / max(1, pace)) + 1
    plan = compile_motion(Transfer(SimpleNamespace(frames=PANNED.frames, fps=rate)), count, 64, 64, fps=16)
    flow = plan.flow()[:, :, 20:44, 20:44]
    reference = compile_motion(Transfer(PANNED.frames), F, 64, 64, fps=16).flow()[:, :, 20:44, 20:44]
    assert np.median(flow[:, 0]) == pytest.approx(pace * np.median(reference[:, 0]), rel=0.12)
    assert np.isfinite(plan.flow()).all()


@pytest.mark.parametrize("rate", [24, 30, 20, 40, 10, 7, 15.5])
def test_constant_motion_stays_constant_at_any_rate(rate: float) -> None:
    ground = np.random.default_rng(3).uniform(0, 255, (16, 48, 3)).astype(np.float32)
    wide = cv2.resize(ground, (192, 64), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    frames = np.stack([wide[:, 2 * f : 2 * f + 64] for f in range(40)])
    plan = compile_motion(Transfer(SimpleNamespace(frames=frames, fps=rate)), 13, 64, 64, fps=16)
    moved = np.median(plan.flow()[:, 0, 16:48, 16:48], (1, 2))
    np.testing.assert_allclose(moved, -2 * rate / 16, rtol=0.1)


def test_times_of_a_varying_rate_are_respected() -> None:
    """Every second frame of the video comes after half the time of the others."""
    times = np.cumsum([0.0, *([1 / 24, 1 / 12] * 10)])[: len(PANNED.frames)]
    even = compile_motion(Transfer(SimpleNamespace(frames=PANNED.frames, fps=16)), 5, 64, 64, fps=16)
    plan = compile_motion(Transfer(SimpleNamespace(frames=PANNED.frames, fps=16, times_s=times)), 5, 64, 64, fps=16)
    long, short = np.median(even.flow()[:, 0, 20:44, 20:44]), np.median(plan.flow()[:, 0, 20:44, 20:44], (1, 2))
    assert short[0] == pytest.approx(1.25 * long, rel=0.15) and np.median(short) != pytest.approx(long, rel=0.02)


@pytest.mark.parametrize(
    ("rate", "frames", "needed", "refused"),
    [(7, 26, 8, 6), (7, 101, 29, 27), (16, 13, 13, 11), (32, 7, 13, 10), (30, 33, 61, 59)],
)
def test_a_driving_video_of_just_sufficient_length_is_accepted(
    rate: float, frames: int, needed: int, refused: int
) -> None:
    """One that ends within the clip's last interval, as 2 s at 30 fps for 33 frames at 16, holds its last frame."""
    fps = 25 if rate == 7 else 16
    still = np.repeat(PANNED.frames[:1], needed, 0)
    assert compile_motion(Transfer(SimpleNamespace(frames=still, fps=rate)), frames, 64, 64, fps=fps).frames == frames
    held = compile_motion(Transfer(SimpleNamespace(frames=still[:-1], fps=rate)), frames, 64, 64, fps=fps)
    assert held.frames == frames and np.isfinite(held.flow()).all() and "its last frame is held" in held.notes[0]
    timed = SimpleNamespace(frames=still[:-1], fps=rate, times_s=np.arange(needed - 1) / rate)
    assert compile_motion(Transfer(timed), frames, 64, 64, fps=fps).notes == held.notes, "as from a file"
    with pytest.raises(InputError, match="give a longer one"):
        compile_motion(Transfer(SimpleNamespace(frames=still[:refused], fps=rate)), frames, 64, 64, fps=fps)


@pytest.mark.parametrize(
    "make",
    [
        lambda short: Flow(EXACT[: len(EXACT) - short]),
        lambda short: Flow(EXACT[: len(EXACT) - short], region=REGION),
        lambda short: Tracks(zooming_tracks(F - short)["tracks"]),
        lambda short: Transfer(CLIP.frames[: F - short]),
    ],
    ids=["flow", "flow of a region", "tracks", "video"],
)
def test_all_sources_hold_their_last_frame_within_the_last_interval(make: Callable[[int], Motion]) -> None:
    shorter, held = (compile_motion(make(1), frames, 64, 64, fps=16) for frames in (F - 1, F))
    assert shorter.notes == () and len(held.notes) == 1 and held.notes[0].endswith(": its last frame is held")
    assert np.array_equal(held.map_at(F - 2), shorter.map_at(F - 2)), "before it, nothing changes"
    assert compile_motion(make(0), F, 64, 64, fps=16).notes == ()
    assert np.abs(held.flow()[-1]).max() < 1e-6, "then nothing moves"
    with pytest.raises(InputError, match="render fewer frames"):
        compile_motion(make(2), F, 64, 64, fps=16)


@pytest.mark.parametrize(("fit", "expected"), [("crop", 2.0), ("stretch", 1.0)])
def test_a_driving_video_of_another_shape_is_cropped_or_stretched(fit: str, expected: float) -> None:
    """Twice as wide, with a pan of 2 px per frame: cropped it still pans 2 px, stretched 1 px."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (64, 160, 3), np.uint8), (0, 0), 2)
    wide = np.stack([texture[:, 2 * f : 2 * f + 128] for f in range(5)])
    flow = compile_motion(Transfer(wide, fit=fit), 5, 64, 64).flow()
    assert abs(np.median(flow[:, 0, 16:48, 16:48])) == pytest.approx(expected, abs=0.15)
    with pytest.raises(InputError, match="did you mean 'crop'"):
        Transfer(wide, fit="cropp")


@pytest.mark.parametrize("rate", [float("nan"), -1.0, float("inf"), "24?"])
def test_invalid_rates(rate: object) -> None:
    with pytest.raises(InputError, match="must be a finite number above 0"):
        compile_motion(Transfer(SimpleNamespace(frames=PANNED.frames, fps=rate)), 5, 64, 64, fps=16)
    with pytest.raises(InputError, match="must be a finite number above 0"):
        compile_motion(Transfer(PANNED.frames), 5, 64, 64, fps=rate)  # type: ignore[arg-type]


def test_the_motion_of_a_slow_driving_video_is_distributed_evenly() -> None:
    stretched = compile_motion(Transfer(SimpleNamespace(frames=PANNED.frames[:7], fps=8)), F, 64, 64, fps=16)
    unstretched = compile_motion(Transfer(PANNED.frames[:7]), 7, 64, 64)
    middle = slice(24, 40)
    last_maps = [plan.map_at(plan.frames - 1)[middle, middle] for plan in (stretched, unstretched)]
    np.testing.assert_allclose(np.median(last_maps[0], (0, 1)), np.median(last_maps[1], (0, 1)), atol=0.2)


def test_sources_are_scaled_to_the_clip() -> None:
    path = {"clip.mp4": PANNED.frames}
    wide = compile_motion(Transfer("clip.mp4"), F, 96, 96, read_video=lambda name: path[str(name)])
    small = compile_motion(Transfer(PANNED.frames), F, 64, 64)
    assert np.median(wide.flow()[:, 0]) == pytest.approx(1.5 * np.median(small.flow()[:, 0]), rel=0.1)
    twice = compile_motion(Flow(EXACT), F, 128, 128)
    assert twice.flow()[0].max() == pytest.approx(2 * EXACT[0].max(), rel=1e-3)


def test_a_camera_over_a_moving_background() -> None:
    plan = compile_motion(
        Flow(np.tile(np.array([2, 0], np.float32)[:, None, None], (4, 1, 32, 32))) + Camera(zoom=2), 5, 32, 32
    )
    np.testing.assert_allclose(
        plan.follow(np.array([[10.0, 20.0]]))[0, -1], (2 * (18 - 16) + 16, 2 * 4 + 16), atol=1e-4
    )
    u, first_visible = plan.layers[0].texture(np.array([[20.0, 24.0]]), 4)
    np.testing.assert_allclose(u, [[10, 20]], atol=1e-4)
    assert first_visible.tolist() == [0]


def zooming_tracks(frames: int = F, **rest: Any) -> dict[str, Any]:
    start = np.array([[x, y] for x in (8.0, 32.0, 56.0) for y in (8.0, 32.0, 56.0)])
    return {"tracks": np.stack([32 + (start - 32) * (1 + 0.02 * f) + (f, 0) for f in range(frames)]), **rest}


def test_tracks_of_affine_motion_are_followed_exactly(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", **zooming_tracks())
    plan = compile_motion(Tracks(tmp_path / "t.npz"), F, 64, 64)
    zoom = 1 + 0.02 * (F - 1)
    np.testing.assert_allclose(plan.map_at(F - 1), (GRID - 32 - (F - 1, 0)) / zoom + 32, atol=1e-3)
    expected = np.moveaxis(np.array(zooming_tracks()["tracks"]), 0, 1)
    inside = (expected < 64).all((1, 2))  # points outside the frame move like the border
    assert inside.sum() == 6
    np.testing.assert_allclose(plan.tracks()[inside], expected[inside], atol=1e-3)
    np.savez(tmp_path / "half.npz", **zooming_tracks(size=(32, 32)))
    assert compile_motion(Tracks(tmp_path / "half.npz"), F, 64, 64).tracks()[0, 0] == pytest.approx((16, 16))
    assert compile_motion(Tracks(zooming_tracks()["tracks"]), F, 640, 640).map_at(2).shape == (640, 640, 2)


def test_hidden_points_do_not_count() -> None:
    tracks, visible = np.array(zooming_tracks()["tracks"]), np.ones((F, 9), bool)
    tracks[5:, 0], visible[5:, 0] = np.nan, False
    plan = compile_motion(Tracks(tracks), F, 64, 64)
    np.testing.assert_allclose(
        plan.map_at(F - 1),
        compile_motion(Tracks(np.array(zooming_tracks()["tracks"])), F, 64, 64).map_at(F - 1),
        atol=1e-3,
    )


def test_few_points_give_a_translation() -> None:
    for count in (1, 2):
        values = thin_plate(np.array([[3.0, 4.0], [30.0, 9.0]])[:count], np.tile([5.0, -1.0], (count, 1)), GRID)
        np.testing.assert_allclose(values, np.broadcast_to((5.0, -1.0), GRID.shape), atol=1e-6)


def save_tracks(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "t.npz", **arrays)  # type: ignore[arg-type]
    return folder / "t.npz"


NAN_TRACKS = np.where(np.arange(9)[:, None] == 4, np.nan, np.array(zooming_tracks()["tracks"]))
HIDDEN = np.repeat(np.arange(F)[:, None] < 6, 9, axis=1)
BAD = [
    pytest.param(
        lambda p: Transfer(CLIP.frames[:9]), "the driving video has 9 frames, the clip 13", id="driving clip too short"
    ),
    pytest.param(
        lambda p: Transfer(SimpleNamespace(frames=CLIP.frames, fps=32)),
        "13 frames at 32 per second, the clip 13 at 16, which needs 25 of them",
        id="driving clip ends too early",
    ),
    pytest.param(
        lambda p: Transfer(CLIP.frames[:, :48]),
        "is 64x48 and the clip 64x64: the aspect ratio differs",
        id="driving clip's shape",
    ),
    pytest.param(lambda p: Transfer(CLIP.frames / 255), "a driving video must be uint8", id="driving clip of floats"),
    pytest.param(
        lambda p: Transfer("clip.mp4"),
        "there is no reader for 'clip.mp4'; pass its frames, or compile_motion",
        id="no reader",
    ),
    pytest.param(lambda p: Transfer(CLIP.frames, np.zeros((64, 64))), "covers no pixel", id="empty region"),
    pytest.param(
        lambda p: Flow(EXACT[:5]), "the given array has 5 flow fields, 13 frames need 12", id="too little flow"
    ),
    pytest.param(
        lambda p: Flow(EXACT[..., :32]),
        "the given array is 32x64 and the clip 64x64: the aspect ratio differs",
        id="flow's shape",
    ),
    pytest.param(lambda p: Flow(EXACT * np.nan), "the given flow has NaN", id="flow of NaN"),
    pytest.param(
        lambda p: Flow(write_flow(p / "a.flo", EXACT[0])), "a.flo has 1 flow fields, 13 frames need 12", id="one field"
    ),
    pytest.param(lambda p: Tracks(save_tracks(p, points=1)), "has no 'tracks'", id="archive with other content"),
    pytest.param(lambda p: Tracks(p / "none.npz"), "cannot read tracks", id="no file"),
    pytest.param(
        lambda p: Tracks(save_tracks(p, **zooming_tracks(7))), "tracks 7 frames, the clip has 13", id="tracks too short"
    ),
    pytest.param(
        lambda p: Tracks(save_tracks(p, tracks=np.zeros((F, 4)))),
        r"they must be \[frame, point, 2\]",
        id="tracks of another shape",
    ),
    pytest.param(
        lambda p: Tracks(save_tracks(p, tracks=NAN_TRACKS)),
        "NaN or infinite positions of visible points",
        id="tracks of NaN",
    ),
    pytest.param(
        lambda p: Tracks(save_tracks(p, **zooming_tracks(visibility=HIDDEN))), "no point .* frame 6", id="all hidden"
    ),
    pytest.param(
        lambda p: Tracks(save_tracks(p, **zooming_tracks(size=(64, 48)))),
        "is 64x48 and the clip 64x64",
        id="tracked in another shape",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_sources_that_do_not_fit_the_clip(make, message: str, tmp_path: Path) -> None:
    motion: Motion = make(tmp_path)
    with pytest.raises(InputError, match=message):
        compile_motion(motion, F, 64, 64, fps=16)
