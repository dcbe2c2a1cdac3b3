"""Layers: drags, sprites, their order, and the consistency of maps, flow, masks and tracks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from videogen import InputError
from videogen.motion import (
    Camera,
    Compose,
    CutDrag,
    Drag,
    Flow,
    Motion,
    MotionPlan,
    Sprite,
    Tracks,
    Transfer,
    compile_motion,
)
from videogen.motion.interpolation import bilinear, pixel_grid
from videogen.motion.preview import advance_frame

F, H, W = 9, 48, 64
BOX = (4, 16, 16, 28)
MASK = np.zeros((H, W), bool)
MASK[16:28, 4:16] = True
IMAGE = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
RGBA = np.full((8, 8, 4), 255, np.uint8)
RIGHT = [(10, 22), (42, 22)]
TRACKS = np.stack([np.array([[x + 2.0 * f, y] for x in (10, 30, 50) for y in (10, 40)]) for f in range(F)])


def plan(motion: Motion, frames: int = F) -> MotionPlan:
    return compile_motion(motion, frames, H, W)


MOTIONS = [
    pytest.param(Camera(pan=8, zoom=1.2, roll=10), id="camera"),
    pytest.param(Camera(orbit=20, dolly=0.2, fov=60), id="camera in space"),
    pytest.param(Drag(BOX, RIGHT, 1.3, 40), id="drag"),
    pytest.param(Drag(BOX, RIGHT) + Camera(pan=6), id="drag before camera"),
    pytest.param(Camera(tilt=6) + Drag(BOX, RIGHT, ease="in"), id="drag after camera"),
    pytest.param(CutDrag((Sprite(BOX, RIGHT), Sprite(None, [(-9, 9), (60, 9)], image=RGBA))), id="sprites"),
    pytest.param(
        Flow(np.tile(np.array([1.25, -0.5], np.float32)[:, None, None], (F - 1, 1, H, W))) + Camera(zoom=0.8),
        id="flow and camera",
    ),
]


@pytest.mark.parametrize("motion", MOTIONS)
def test_maps_and_flow_agree(motion: Motion) -> None:
    """One step along the flow leads to the same point of the same layer."""
    compiled, grid = plan(motion), pixel_grid(H, W)
    for f in range(F - 1):
        ids, where = compiled.address(grid, f)
        later = grid + np.moveaxis(compiled.flow()[f], 0, -1)
        later_ids, later_where = compiled.address(later, f + 1)
        visible = (later_ids == ids) & (later > 1).all(-1) & (later < (W - 1, H - 1)).all(-1)
        assert np.abs(later_where - where)[visible].max() < 1e-3 and visible.mean() > 0.5


@pytest.mark.parametrize("motion", MOTIONS)
def test_shapes_and_invariants_of_every_plan(motion: Motion) -> None:
    compiled = plan(motion)
    count = len(compiled.layers)
    assert compiled.maps().shape == (count, F, H, W, 2) and compiled.masks().shape == (count, F, H, W)
    assert compiled.flow().shape == (F - 1, 2, H, W) and compiled.flow().dtype == np.float32
    np.testing.assert_allclose(compiled.masks().sum(0), 1, atol=1e-5)
    assert compiled.mask().shape == (F, H, W) and compiled.mask().min() >= 0 and compiled.mask().max() <= 1
    assert np.array_equal(compiled.map_at(0), pixel_grid(H, W)), "the first frame is unchanged"
    assert compiled.tracks().shape[1:] == (F, 2)
    for first in (None, IMAGE):
        preview = compiled.preview(first)
        assert preview.shape == (F, H, W, 3) and preview.dtype == np.uint8
    u, v = (torch.from_numpy(pixel_grid(H, W)[..., axis].reshape(-1)) for axis in (0, 1))
    ids, x, y = compiled.texture(3, u, v)
    expected = compiled.address(pixel_grid(H, W), 3)
    assert np.array_equal(ids, expected[0].reshape(-1)) and np.array_equal(
        torch.stack([x, y], -1), expected[1].reshape(-1, 2)
    )


@pytest.mark.parametrize("motion", MOTIONS)
def test_an_extended_plan_stands_still_after_its_end(motion: Motion) -> None:
    """A clip whose last latent reaches beyond its end: the motion ends where it was to end."""
    compiled = plan(motion)
    longer = compiled.extend(F + 3)
    np.testing.assert_array_equal(longer.maps()[:, :F], compiled.maps())
    np.testing.assert_array_equal(longer.flow()[: F - 1], compiled.flow())
    np.testing.assert_array_equal(longer.mask()[:F], compiled.mask())
    assert np.abs(longer.flow()[F - 1 :]).max() < 1e-3 and len(longer.flow()) == F + 2
    np.testing.assert_array_equal(longer.tracks()[:, F - 1], longer.tracks()[:, -1])
    np.testing.assert_array_equal(longer.shorten(F).flow(), compiled.flow())
    assert compiled.extend(F) is compiled is compiled.shorten(F)


def test_a_drag_moves_only_its_region() -> None:
    compiled = plan(Drag(BOX, RIGHT))
    assert compiled.tracks()[0].tolist() == [[10 + 4 * f, 22] for f in range(F)]
    moved = np.roll(MASK, 32, axis=1)
    assert np.array_equal(compiled.masks()[1, -1] > 0.5, moved) and np.array_equal(compiled.mask()[-1] > 0.5, moved)
    assert np.array_equal(compiled.holes_at(F - 1), MASK), "the uncovered region is unknown"
    assert np.array_equal(compiled.flow()[0, 0] == 4, MASK) and (compiled.flow()[0, 1] == 0).all()
    still = np.arange(H) < 12
    assert np.array_equal(compiled.preview(IMAGE, arrows=False)[-1][still], IMAGE[still])
    assert np.array_equal(compiled.preview(IMAGE, arrows=False)[-1][16:28, 36:48], IMAGE[16:28, 4:16])


def test_scale_and_rotation_are_reached_at_the_end_about_the_centroid() -> None:
    compiled = plan(Drag(BOX, [(30, 5)], scale=2, rotate=90))
    np.testing.assert_allclose(
        compiled.follow(np.array([[10, 22], [16, 22]]), layer=1)[:, -1], [[10, 22], [10, 34]], atol=1e-5
    )


REGIONS = [
    pytest.param(MASK, 144, id="mask"),
    pytest.param(MASK.astype(np.uint8) * 255, 144, id="mask of 0 and 255"),
    pytest.param(BOX, 144, id="box"),
    pytest.param((4.5, 16, 5.0, 18), 1, id="box of half a pixel's width"),
    pytest.param(((4, 16), (16, 16), (16, 28), (4, 28)), 144, id="polygon"),
    pytest.param(((0, 0), (20, 0), (0, 20)), 200, id="triangle"),
    pytest.param((30, 20, 10), np.pi * 100, id="disc"),
    pytest.param(None, np.pi * 64, id="none: a disc of a sixth of the size"),
]


@pytest.mark.parametrize(("region", "area"), REGIONS)
def test_regions_have_their_area(region: object, area: float) -> None:
    covered = plan(Drag(region, [(30, 20)])).layers[1].coverage
    assert covered is not None and covered.sum() == pytest.approx(area, rel=0.02)


def test_masks_from_files(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), MASK.astype(np.uint8) * 255)
    assert plan(Drag(tmp_path / "mask.png", RIGHT)).layers[1].coverage.sum() == 144  # type: ignore[union-attr]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="cannot be read as an image"):
        plan(Drag(tmp_path / "broken.png", RIGHT))
    with pytest.raises(InputError, match="does not exist"):
        plan(Drag(tmp_path / "absent.png", RIGHT))


def test_a_camera_moves_the_layers_before_it() -> None:
    inside, screen = plan(Drag(BOX, RIGHT) + Camera(pan=8)), plan(Camera(pan=8) + Drag(BOX, RIGHT))
    np.testing.assert_allclose(inside.tracks()[0, -1], (34, 22), atol=1e-5)
    np.testing.assert_allclose(screen.tracks()[0, -1], (42, 22), atol=1e-5)
    assert np.array_equal(inside.map_at(F - 1), screen.map_at(F - 1))
    both = plan(Camera(zoom=2) + Camera(pan=8))
    np.testing.assert_allclose(both.map_at(F - 1), plan(Camera(zoom=2, pan=8)).map_at(F - 1), atol=1e-4)


def test_later_layers_are_on_top() -> None:
    crossing = Drag((40, 16, 52, 28), [(46, 22), (10, 22)])
    compiled = plan(Drag(BOX, RIGHT) + crossing, frames=17)
    ids, _ = compiled.address(pixel_grid(H, W), 8)
    assert ids[22, 28] == 2 and compiled.masks()[1, 8].sum() < 144 == compiled.masks()[2, 8].sum()
    overlap = plan(Drag(BOX, RIGHT) + Drag((10, 16, 22, 28), [(16, 22), (16, 40)]))
    assert overlap.masks()[1, 0].sum() == 72, "the upper layer has the pixels that both claim"


def test_addition_is_flat_and_ordered() -> None:
    a, b, c = Camera(pan=1), Drag(None, [(3, 3)]), Camera(zoom=2)
    assert (a + b) + c == a + (b + c) == Compose((a, b, c)) and Compose((a + b, c)).parts == (a, b, c)
    with pytest.raises(TypeError):
        a + 3  # type: ignore[operator]
    with pytest.raises(InputError, match="at least one part"):
        Compose(())


def test_sprites_show_their_image(tmp_path: Path) -> None:
    rgba = RGBA.copy()
    rgba[..., :3], rgba[0, :, 3] = (200, 100, 50), 0
    cv2.imwrite(str(tmp_path / "s.png"), rgba[..., [2, 1, 0, 3]])
    for image in (rgba, tmp_path / "s.png"):
        compiled = plan(CutDrag((Sprite(path=[(-10, 20), (20, 20)], image=image),)))
        preview = compiled.preview(IMAGE, arrows=False)
        assert np.array_equal(preview[0], IMAGE) and (preview[-1][17:24, 16:24] == (200, 100, 50)).all()
        assert np.array_equal(preview[-1][16], IMAGE[16]) and not compiled.holes_at(F - 1).any()


def test_preview_fills_disocclusions_and_draws_arrows() -> None:
    flat = np.full((H, W, 3), (90, 140, 60), np.uint8)
    compiled = plan(Camera(pan=20))
    assert (compiled.preview(flat, arrows=False) == flat).all() and (compiled.preview(flat) != flat).any()
    assert compiled.holes_at(F - 1).sum() == 20 * H and compiled.mask()[-1].sum() == (W - 20) * H
    assert plan(Camera(pan=20), frames=1).preview().shape == (1, H, W, 3)
    with pytest.raises(
        InputError, match=r"the first frame must be uint8 \[48, 64, 3\], the plan.s size, not uint8 \[40, 64, 3\]"
    ):
        compiled.preview(IMAGE[:40])


def test_a_grid_moves_as_specified() -> None:
    preview = plan(Camera(pan=8)).preview(arrows=False).astype(int)
    np.testing.assert_allclose(preview[-1][:, :-8], preview[0][:, 8:], atol=1)
    back = bilinear(preview[0].astype(float), plan(Camera(zoom=1.5)).map_at(F - 1))
    assert np.abs(back - plan(Camera(zoom=1.5)).preview(arrows=False)[-1]).mean() < 4


EMPTY = np.zeros((H, W), bool)
BAD = [
    pytest.param(Drag(EMPTY, RIGHT), "the mask covers no pixel of the 64x48 frame", id="empty mask"),
    pytest.param(Drag((70, 5, 90, 9), RIGHT), "covers no pixel of the 64x48 frame", id="box out of frame"),
    pytest.param(Drag(((-9, -9), (-2, -9), (-2, -2)), RIGHT), "covers no pixel", id="polygon out of frame"),
    pytest.param(Drag(MASK[:40], RIGHT), "the mask is 64x40, the clip is 64x48", id="mask of another size"),
    pytest.param(Drag(MASK * 3.0, RIGHT), "values go from 0 to 3", id="mask's values"),
    pytest.param(
        Drag(BOX, [(70, 20), (30, 20)]),
        r"the path begins at \(70, 20\), outside the 64x48 frame",
        id="path begins outside",
    ),
    pytest.param(
        Drag(BOX, [(10, 20), (500, 20)]), r"point \(500, 20\) lies more than a full frame outside", id="path far out"
    ),
    pytest.param(
        CutDrag((Sprite(None, [(-99, 0)], image=RGBA),)), "more than a full frame outside", id="sprite far out"
    ),
    pytest.param(CutDrag((Sprite(None, [(9, 9)], image=RGBA * 0),)), "fully transparent", id="transparent sprite"),
    pytest.param(
        Drag(BOX, RIGHT) + Drag(MASK, RIGHT[::-1]), "contradicts Drag .part 2.: the same pixels", id="one region twice"
    ),
    pytest.param(
        Drag(BOX, RIGHT) + Transfer(np.stack([IMAGE] * F)),
        "moves the entire frame .* put it first",
        id="over a drag",
    ),
    pytest.param(Camera(pan=3) + Tracks(TRACKS), "Tracks .part 2. moves the entire frame", id="over a camera"),
    pytest.param(Tracks(TRACKS) + Tracks(TRACKS), "put it first, or give it a region", id="two for the entire frame"),
    pytest.param(Motion(), "Motion is not a motion that can be compiled", id="not a motion"),
    pytest.param("pan=8", "str is not a motion; use Camera", id="text"),
]


@pytest.mark.parametrize(("motion", "message"), BAD)
def test_bad_plans(motion: Motion, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(motion)


BAD_PARTS = [
    pytest.param(lambda: Drag(BOX), "path has 0 points and needs at least 1", id="no path"),
    pytest.param(
        lambda: Drag(BOX, [(1, 2, 3)]),  # type: ignore[list-item]
        r"path has \(1, 2, 3\), which is not an \(x, y\) point",
        id="no point",
    ),
    pytest.param(lambda: Drag(BOX, "10,3"), "must be a list", id="text for a path"),  # type: ignore[arg-type]
    pytest.param(lambda: Drag((9, 9, 3, 3), RIGHT), "box .* is empty", id="box with swapped corners"),
    pytest.param(lambda: Drag((9, 9, 0), RIGHT), "has no radius", id="disc of radius 0"),
    pytest.param(lambda: Drag((9, 9), RIGHT), "has 2 numbers; a box has 4", id="two numbers"),
    pytest.param(lambda: Drag(((1, 1), (2, 2)), RIGHT), "polygon has 2 points and needs at least 3", id="line"),
    pytest.param(lambda: Drag(np.zeros((3, 3, 3)), RIGHT), r"a mask must be \[height, width\]", id="coloured mask"),
    pytest.param(lambda: Drag(7, RIGHT), "region 7 is not a region", id="a number"),
    pytest.param(lambda: Drag(BOX, RIGHT, scale=-1), "scale=-1 must be above 0", id="scale"),
    pytest.param(lambda: Drag(BOX, RIGHT, depth=0), "depth=0 must be above 0", id="depth"),
    pytest.param(lambda: Sprite(BOX, RIGHT, image=RGBA), "not both", id="image and region"),
    pytest.param(lambda: Sprite(path=RIGHT, image=IMAGE), "uint8 RGBA", id="image without alpha"),
    pytest.param(lambda: CutDrag(()), "CutDrag needs sprites", id="no sprites"),
    pytest.param(
        lambda: CutDrag((Camera(),)),  # type: ignore[arg-type]
        "CutDrag needs sprites",
        id="a camera for a sprite",
    ),
    pytest.param(lambda: Transfer(3), "video=int must be frames, a clip or a path", id="a number for a clip"),
    pytest.param(lambda: Tracks(3), "file=int must be a path or tracks", id="a number for tracks"),
    pytest.param(lambda: Flow(3), "file=int must be a path or flow", id="a number for flow"),
    pytest.param(
        lambda: compile_motion(Camera(), 0, 8, 8), "frames=0 must be a whole number of at least 1", id="no frames"
    ),
    pytest.param(
        lambda: compile_motion(Camera(), 3, 8.5, 8),  # type: ignore[arg-type]
        "height=8.5 must be a whole number",
        id="half a pixel",
    ),
    pytest.param(
        lambda: plan(Camera()).map_at(F), "frame=9 is outside this plan of 9 frames", id="frame after the last"
    ),
    pytest.param(lambda: plan(Camera()).follow(np.zeros(2)), r"points must be \[n, 2\]", id="one bare point"),
]


@pytest.mark.parametrize(("call", "message"), BAD_PARTS)
def test_bad_parts(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "motion", [Camera(pan=9), Camera(zoom=1.3), Drag(BOX, RIGHT), Drag(BOX, RIGHT) + Camera(pan=-6)], ids=repr
)
def test_an_advanced_frame_equals_the_preview(motion: Motion) -> None:
    """Also for uniform objects, whose motion is visible only at their outline."""
    first = np.full((H, W, 3), 30, np.uint8)
    first[MASK] = (220, 60, 40)
    planned = plan(motion)
    preview = planned.preview(first, arrows=False)
    for frame in (0, 4):
        moved = advance_frame(planned, preview[frame], frame).astype(int)
        assert np.abs(moved - preview[frame + 1]).mean() < 0.35 * max(
            1.0, np.abs(preview[frame].astype(int) - preview[frame + 1]).mean()
        )
