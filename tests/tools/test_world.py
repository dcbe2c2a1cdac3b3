"""The procedural world is seeded and captioned, and its masks, tracks and flow agree with its pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tools.training.scenes import CORNERS, SPINNERS, described_scene, sample_change
from tools.world import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    MOTIONS,
    SHAPES,
    TEXTURES,
    Scene,
    Thing,
    caption,
    flow,
    held_out,
    render,
    render_change,
    sample_scene,
    without_motion,
)
from tools.world.captions import vocabulary
from tools.world.geometry import layer_maps, maps_of_change
from tools.world.scene import is_held_out
from tools.world.texture import SceneMaps


def scene(
    motion: str = "moves right", camera: str | None = None, background: str = "black", shape: str = "ball"
) -> Scene:
    return Scene((Thing(shape, "red", motion),), background, camera, 7)


def test_a_scene_is_a_pure_function_of_its_seed() -> None:
    first, second = render(sample_scene(11)), render(sample_scene(11))
    assert np.array_equal(first.frames, second.frames)
    assert not np.array_equal(first.frames, render(sample_scene(12)).frames)


def test_a_window_of_a_clip_equals_that_part_of_the_clip() -> None:
    full = render(scene(), 33)
    assert np.array_equal(render(scene(), 5, start=10).frames, full.frames[10:15])
    assert np.array_equal(render(scene(), 9, stride=4).frames, full.frames[::4])


def test_held_out_combinations_never_appear_in_training() -> None:
    assert len(set(held_out())) == 64
    for seed in range(4000):
        sampled = sample_scene(seed)
        assert not any(is_held_out(thing, sampled.background) for thing in sampled.things)


def test_training_covers_every_word() -> None:
    scenes = [sample_scene(seed) for seed in range(4000)]
    things = [thing for s in scenes for thing in s.things]
    assert {t.shape for t in things} == set(SHAPES) and {t.colour for t in things} == set(COLOURS)
    assert {t.motion for t in things} == set(MOTIONS)
    assert {s.background for s in scenes} == set(BACKGROUNDS) and {s.camera for s in scenes} == {None, *CAMERAS}
    words = {word.strip(",") for i, s in enumerate(scenes) for word in caption(s, np.random.default_rng(i)).split()}
    assert words <= set(vocabulary())


@pytest.mark.parametrize(
    ("motion", "dx", "dy"),
    [("moves left", -1, 0), ("moves right", 1, 0), ("moves up", 0, -1), ("moves down", 0, 1), ("stays still", 0, 0)],
)
def test_tracks_follow_the_caption(motion: str, dx: int, dy: int) -> None:
    track = render(scene(motion)).tracks[0]
    travel = track[-1] - track[0]
    assert (np.sign(np.round(travel)) == (dx, dy)).all()


@pytest.mark.parametrize("seed", range(6))
def test_captions_leave_out_undescribed_motion(seed: int) -> None:
    sampled = sample_scene(seed, undescribed=True, cameras=0.4)
    words = caption(sampled, np.random.default_rng(seed)).replace(",", "").split()
    motion_words = {word for motion in (*MOTIONS, *CAMERAS) for word in motion.split()} - {"in", "a", "circle"}
    assert not motion_words & set(words) - {"stays", "still"} and "camera" not in words
    silent = caption(without_motion(sampled)).split()
    assert not motion_words & set(silent) and set(silent) <= set(caption(sampled).split())


def test_undescribed_scenes_move_far() -> None:
    moved = []
    for seed in range(40):
        ground, things = layer_maps(sample_scene(seed, undescribed=True, cameras=0.4), 33, 64)
        moved.append(max(np.hypot(np.ptp(layer.x), np.ptp(layer.y)) for layer in (ground, *things)))
    assert np.median(moved) > 12 and max(moved) > 25


@pytest.mark.parametrize("seed", range(8))
def test_undescribed_objects_stay_in_the_frame(seed: int) -> None:
    clip = render(sample_scene(seed, undescribed=True, cameras=0.0, pairs=0.0))
    assert (clip.masks.sum((2, 3)) > 100).all()


@pytest.mark.parametrize("seed", [0, 1, 4, 5])
def test_texture_maps_agree_with_the_flow(seed: int) -> None:
    """A pixel has the same texture coordinates in the next frame at the position that the exact flow gives."""
    sampled = sample_scene(seed, undescribed=True, cameras=0.4)
    maps, moved = SceneMaps(sampled, 5, 64), torch.from_numpy(flow(sampled, 5, 64))
    ys, xs = torch.meshgrid(torch.arange(64.0) + 0.5, torch.arange(64.0) + 0.5, indexing="ij")
    here = maps.texture(2, xs, ys)
    there = maps.texture(3, xs + moved[2, 0], ys + moved[2, 1])
    same = here[0] == there[0]
    assert same.float().mean() > 0.97  # all but outlines
    for a, b in zip(here[1:], there[1:], strict=True):
        torch.testing.assert_close(a[same], b[same], atol=1e-3, rtol=0)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("camera", [None, "pans left", "zooms in"])
def test_flow_carries_each_frame_to_the_next(motion: str, camera: str | None) -> None:
    moving = scene(motion, camera, "noisy" if camera else "black", "square")
    frames = render(moving, 6).frames.astype(float)
    moved = flow(moving, 6, 64)
    ys, xs = np.mgrid[0:64, 0:64]
    tx, ty = np.rint(xs + moved[0, 0]).astype(int), np.rint(ys + moved[0, 1]).astype(int)
    inside = (tx >= 0) & (tx < 64) & (ty >= 0) & (ty < 64)
    warped_error = np.abs(frames[1][ty[inside], tx[inside]] - frames[0][inside]).mean()
    assert warped_error < 4.0  # only rounding to full pixels remains


def test_masks_are_the_visible_coverage() -> None:
    pair = Scene((Thing("ball", "red", "stays still"), Thing("square", "blue", "stays still")), "black", None, 3)
    clip = render(pair, 1)
    red = clip.frames[0][clip.masks[0, 0] > 0.99]
    assert (red[:, 0] > 200).all() and (red[:, 2] < 80).all()
    assert (clip.masks.sum(0) <= 1 + 1e-6).all()


def test_positions_scale_with_the_frame_size() -> None:
    small, large = render(scene(), 3, 64).tracks, render(scene(), 3, 128).tracks
    assert np.allclose(2 * small, large)


@pytest.mark.parametrize(
    ("shapes", "spinning", "commonest"), [(CORNERS, 0.0, "square"), (SPINNERS, 0.86, "star")], ids=["corners", "spins"]
)
def test_hard_scenes_have_the_requested_shapes_and_are_never_held_out(
    shapes: dict[str, float], spinning: float, commonest: str
) -> None:
    scenes = [described_scene(seed, 1.0, shapes, spinning) for seed in range(400)]
    things = [scene.things[0] for scene in scenes]
    counts = {shape: sum(thing.shape == shape for thing in things) / len(things) for shape in SHAPES}
    assert (
        all(abs(counts[shape] - shapes.get(shape, 0.0)) < 0.08 for shape in SHAPES)
        and max(counts, key=counts.__getitem__) == commonest
    )
    assert len({thing.motion for thing in things}) == 9 and not any(
        is_held_out(s.things[0], s.background) for s in scenes
    )
    assert abs(sum(thing.motion == "spins" for thing in things) / len(things) - (spinning + (1 - spinning) / 9)) < 0.05
    assert sum(scene.background in TEXTURES for scene in scenes) > 200
    assert [described_scene(seed, 0.0, shapes) for seed in range(9)] == [sample_scene(seed) for seed in range(9)]
    mixed = [described_scene(seed, 0.5, shapes) == sample_scene(seed) for seed in range(200)]
    assert 60 < sum(mixed) < 140 and scenes == [described_scene(seed, 1.0, shapes, spinning) for seed in range(400)]


@pytest.mark.parametrize("motion", MOTIONS)
def test_an_endless_world_stays_in_the_frame_and_starts_as_the_short_one(motion: str) -> None:
    one = scene(motion)
    short, long = render(one), render(one, 200, endless=True)
    assert np.array_equal(long.frames[:33], short.frames)
    track, areas = long.tracks[0], long.masks[0].sum((1, 2))
    assert track.min() > 4 and track.max() < 60 and areas.min() > 0.2 * areas.max()
    pace = np.abs(np.diff(track, axis=0)).sum(1)
    usual = np.abs(np.diff(short.tracks[0], axis=0)).sum(1)
    assert pace.max() <= 1.05 * usual.max() + 1e-4 and (pace > 0).mean() == pytest.approx((usual > 0).mean())


def test_an_endless_camera_reverses() -> None:
    camera, _ = layer_maps(scene(camera="pans left", background="noisy"), 129, 64, endless=True)
    assert camera.x[0] == camera.x[64] == camera.x[128] and camera.x[32] == camera.x[96] == camera.x.max()


@pytest.mark.parametrize("now", MOTIONS)
@pytest.mark.parametrize("was", ["moves right", "grows", "spins"])
def test_an_object_that_changes_its_motion_continues_from_where_it_is(was: str, now: str) -> None:
    before, after = scene(was, shape="square"), scene(now, shape="square")
    at = 40
    _, (own,) = maps_of_change(before, after, 80, 64, at=at)
    _, (plain,) = layer_maps(before, 80, 64, endless=True)
    for name in ("x", "y", "scale", "angle"):
        values = getattr(own, name)
        assert np.array_equal(values[:at], getattr(plain, name)[:at]) and np.abs(np.diff(values)).max() < 2.0
        assert values[at] == pytest.approx(getattr(plain, name)[at])
    if was != now:
        assert any(
            not np.allclose(getattr(own, name)[at + 1 :], getattr(plain, name)[at + 1 :])
            for name in ("x", "y", "scale", "angle")
        )


def test_a_change_of_colour_changes_nothing_else() -> None:
    before = scene("moves right", background="noisy")
    after = replace(before, things=(replace(before.things[0], colour="cyan"),))
    clip, plain = render_change(before, after, 50, 64, at=20), render(before, 50, endless=True)
    assert np.array_equal(clip.frames[:20], plain.frames[:20]) and np.array_equal(clip.masks, plain.masks)
    inside = clip.masks[0, 20:] > 0.99
    assert (clip.frames[20:][inside][:, 0] < 80).all() and (clip.frames[20:][inside][:, 2] > 200).all()
    assert np.array_equal(clip.frames[20:][clip.masks[0, 20:] == 0], plain.frames[20:][clip.masks[0, 20:] == 0])


def test_a_third_of_the_worlds_change_one_object() -> None:
    found = [sample_change(seed, 4, 8) for seed in range(300)]
    changing = [one for one in found if one.changes]
    assert (
        60 < len(changing) < 140
        and {one.at for one in found} == {4, 5, 6, 7, 8}
        and {one.start > 0 for one in found} == {True, False}
    )
    for one in changing:
        was, now = one.before.things[0], one.after.things[0]
        assert (was.colour == now.colour) != (was.motion == now.motion) and one.before.things[1:] == one.after.things[
            1:
        ]
        assert replace(one.after, things=one.before.things) == one.before and not is_held_out(now, one.after.background)
    assert found == [sample_change(seed, 4, 8) for seed in range(300)]
