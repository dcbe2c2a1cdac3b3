"""Nodes of motions: what they make of ComfyUI's types, and what they refuse."""

from __future__ import annotations

import sys
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.comfyui.hosts import Host
from videogen.comfyui.native.warped_noise import WarpedHostNoise
from videogen.core.errors import InputError
from videogen.motion import Camera, Drag, FlowPair, Motion, Transfer, compile_motion

F, H, W = 9, 48, 64
NAN = float("nan")


def tracks(*points: tuple[float, float], move: tuple[float, float] = (16.0, 0.0), frames: int = F) -> dict[str, Any]:
    """Points that move evenly."""
    path = torch.tensor(points)[None] + torch.linspace(0, 1, frames)[:, None, None] * torch.tensor(move)
    return {"track_path": path, "track_visibility": torch.ones(frames, len(points), dtype=torch.bool)}


def disc(x: float = 20, y: float = 24, radius: float = 8) -> torch.Tensor:
    ys, xs = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    return ((xs - x).hypot(ys - y) <= radius).float()[None]


def scene(mask: torch.Tensor) -> torch.Tensor:
    """A white object on blue."""
    return mask[..., None] + (1 - mask[..., None]) * torch.tensor([0.1, 0.2, 0.6])


def panning(frames: int = F, step: int = 2, height: int = H, width: int = W) -> torch.Tensor:
    """A textured clip that moves to the right."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, height // 4, (width + step * frames) // 4 + 1, generator=rng)
    wide = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)
    offsets = [step * (frames - 1 - frame) for frame in range(frames)]
    return torch.stack([wide[:height, at : at + width] for at in offsets])


def run(comfy: Host, module: str, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    result: tuple[Any, ...] = getattr(comfy.load_nodes(module), name).execute(*args, **kwargs).result
    return result


def shift_at(motion: Motion, x: int, y: int, frames: int = F) -> np.ndarray:
    """Where the surface at a pixel of the first frame is in the last one, less where it was."""
    plan = compile_motion(motion, frames, H, W)
    layer = int(plan.address(np.array([[x + 0.5, y + 0.5]]), 0)[0][0]) % len(plan.layers)
    moved = plan.follow(np.array([[x + 0.5, y + 0.5]]), layer)[0]
    return moved[-1] - moved[0]


@pytest.mark.parametrize("frames", [1, 5, 9, 33], ids=lambda n: f"tracks of {n} frames")
def test_tracks_of_any_length_are_spread_over_the_clip(frames: int, comfy: Host) -> None:
    (motion,) = run(comfy, "motion_drag", "MotionTracks", tracks((20, 24), (40, 30), frames=frames), 0, 0)
    moved = shift_at(motion, 20, 24)
    np.testing.assert_allclose(moved, (0 if frames == 1 else 16, 0), atol=1e-3)
    halfway = compile_motion(motion, F, H, W).tracks()[0, F // 2]
    np.testing.assert_allclose(halfway, (20 if frames == 1 else 28, 24), atol=0.5)


def test_tracks_are_scaled_from_the_frames_they_were_made_for(comfy: Host) -> None:
    (motion,) = run(comfy, "motion_drag", "MotionTracks", tracks((200, 240), move=(160.0, 0.0)), 640, 480)
    np.testing.assert_allclose(shift_at(motion, 20, 24), (16, 0), atol=1e-3)


def test_points_that_are_not_visible_are_left_out(comfy: Host) -> None:
    given = tracks((20, 24), (40, 30))
    given["track_path"][4:, 1] = 1e6
    given["track_visibility"][4:, 1] = False
    (motion,) = run(comfy, "motion_drag", "MotionTracks", given, 0, 0)
    np.testing.assert_allclose(shift_at(motion, 40, 30), (16, 0), atol=1e-3)
    mask_of_frames = {**tracks((20, 24), (40, 30)), "track_visibility": torch.ones(F, 1)}  # as core's track_mask gives
    (motion,) = run(comfy, "motion_drag", "MotionTracks", mask_of_frames, 0, 0)
    np.testing.assert_allclose(shift_at(motion, 40, 30), (16, 0), atol=1e-3)


def test_tracks_are_not_changed(comfy: Host) -> None:
    given = tracks((20, 24))
    given["track_visibility"][3] = False
    before = given["track_path"].clone()
    with pytest.raises(InputError, match="no point that is visible in frame 3"):
        run(comfy, "motion_drag", "MotionDrag", 0, 0, 0, 0, 0, "linear", tracks=given)
    assert torch.equal(given["track_path"], before)


BROKEN_TRACKS = [
    pytest.param({"track_path": torch.zeros(3, 2)}, "must be TRACKS with a path", id="no points"),
    pytest.param({"track_path": torch.full((3, 1, 2), NAN)}, "NaN or infinite", id="NaN"),
    pytest.param({**tracks((9, 9)), "track_visibility": torch.ones(4, 1)}, "for 9 frames of 1 points", id="length"),
    pytest.param({**tracks((9, 9)), "track_visibility": torch.zeros(F, 1)}, "in their first frame", id="never visible"),
]


@pytest.mark.parametrize(("given", "message"), BROKEN_TRACKS)
def test_broken_tracks_are_refused_at_the_node(given: Any, message: str, comfy: Host) -> None:
    with pytest.raises(InputError, match=message):
        run(comfy, "motion_drag", "MotionTracks", given, 0, 0)


def test_tracks_outside_the_clip_are_refused_with_its_size(comfy: Host) -> None:
    (motion,) = run(comfy, "motion_drag", "MotionTracks", tracks((400, 240)), 0, 0)
    with pytest.raises(InputError, match=r"begins at .400, 240., and no point of it lies inside the 64x48 frame"):
        compile_motion(motion, F, H, W)
    with pytest.raises(InputError, match="width=640 and height=0"):
        run(comfy, "motion_drag", "MotionTracks", tracks((400, 240)), 640, 0)


def test_a_drag_follows_tracks_with_their_timing(comfy: Host) -> None:
    late = tracks((20, 24), (22, 24))
    late["track_path"][: F - 1] = late["track_path"][0]  # it moves in the last frame only
    (motion,) = run(comfy, "motion_drag", "MotionDrag", 0, 0, 0, 0, 6, "linear", tracks=late)
    plan = compile_motion(motion, F, H, W)
    moved = plan.tracks()[0, [0, F - 2, F - 1]] - plan.tracks()[0, 0]
    np.testing.assert_allclose(moved, [(0, 0), (0, 0), (16, 0)], atol=1e-3)
    np.testing.assert_allclose(shift_at(motion, 50, 24), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("region", "area"),
    [
        pytest.param(disc(), float(disc().sum()), id="mask"),
        pytest.param({"x": 12, "y": 16, "width": 10, "height": 12}, 120, id="box"),
        pytest.param([[{"x": 12, "y": 16, "width": 10, "height": 12}], []], 120, id="boxes per frame"),
    ],
)
def test_a_region_moves_in_place_of_the_disc(region: Any, area: float, comfy: Host) -> None:
    (motion,) = run(comfy, "motion_drag", "MotionDrag", 18, 22, 34, 22, 0, "linear", region=region)
    plan = compile_motion(motion, F, H, W)
    assert plan.masks()[1, 0].sum() == pytest.approx(area, abs=1)
    np.testing.assert_allclose(plan.tracks()[0, -1] - plan.tracks()[0, 0], (16, 0), atol=1e-3)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        pytest.param(torch.zeros(1, 64, 64), "the mask of 64x64 px is empty; draw", id="empty mask"),
        pytest.param(torch.full((1, 8, 8), NAN), "the mask has NaN", id="NaN"),
        pytest.param({"x": 3, "y": 4, "width": 0, "height": 5}, "is empty", id="empty box"),
        pytest.param("left", "must be a MASK, or a BOUNDING_BOX", id="another type"),
    ],
)
def test_regions_without_a_pixel_are_refused(region: Any, message: str, comfy: Host) -> None:
    with pytest.raises(InputError, match=message):
        run(comfy, "motion_drag", "MotionDrag", 18, 22, 34, 22, 0, "linear", region=region)


def test_a_mask_of_another_size_than_the_clip_is_refused(comfy: Host) -> None:
    (motion,) = run(comfy, "motion_drag", "MotionDrag", 5, 5, 9, 5, 0, "linear", region=torch.ones(1, 8, 8))
    with pytest.raises(InputError, match="the mask is 8x8, the clip is 64x48"):
        compile_motion(motion, F, H, W)


@pytest.mark.parametrize(
    ("name", "module", "args", "message"),
    [
        pytest.param("MotionDrag", "motion_drag", (NAN, 0, 0, 0, 0, "linear"), "from_x=nan", id="drag from NaN"),
        pytest.param("MotionDrag", "motion_drag", (1, 1, 2, 2, NAN, "linear"), "radius=nan", id="radius NaN"),
        pytest.param("MotionCamera", "motion_camera", (NAN, 0, 0, 1, "linear"), "pan=nan", id="pan NaN"),
        pytest.param("MotionCamera", "motion_camera", (0, 0, 0, 0, "linear"), "zoom=0", id="zoom 0"),
        pytest.param("MotionCamera", "motion_camera", (0, 0, 0, 1, "bounce"), "ease", id="another ease"),
        pytest.param("MotionPreview", "motion_combine", (Camera(pan=1), W, H, 0), "length=0", id="no frames"),
        pytest.param("MotionDrag", "motion_drag", (1, 2, NAN, 4, 0, "linear"), "^to_x=nan must be", id="NaN in to_x"),
        pytest.param("MotionDrag", "motion_drag", (1, 1e9, 3, 4, 0, "linear"), "^from_y=1", id="a large from_y"),
        pytest.param(
            "MotionCutAndDrag",
            "motion_cut",
            (scene(disc()), disc(), NAN, 0, 1, 0, "linear", F, "region"),
            "^move_x=nan must be",
            id="NaN in move_x",
        ),
    ],
)
def test_linked_values_are_checked_in_execute(
    name: str, module: str, args: tuple[Any, ...], message: str, comfy: Host
) -> None:
    with pytest.raises(ValueError, match=message):
        run(comfy, module, name, *args)


@pytest.mark.parametrize("at", ["preview", "noise"])
@pytest.mark.parametrize(
    ("motion", "message"),
    [
        pytest.param(Drag(path=[(90, 9), (10, 9)]), "Motion: Drag: the path begins at .90, 9., outside", id="drag"),
        pytest.param(
            Drag(path=[(9, 9), (10, 9)]) + Drag(path=[(90, 9), (10, 9)]),
            r"Motion: Drag .motion 2 of 2.: the path begins at .90, 9., outside", id="the second of two drags",
        ),
        pytest.param(
            Transfer(np.zeros((3, H, W, 3), np.uint8)), "Motion: Transfer: the driving video has 3 frames", id="short"
        ),
        pytest.param(
            Drag(path=[(9, 9), (10, 9)], depth=0.3) + Camera(dolly=0.5),
            r"Motion: Camera .motion 2 of 2.: dolly=0.5 moves", id="camera",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_clip_names_its_motion(motion: Motion, message: str, at: str, comfy: Host) -> None:
    with pytest.raises(InputError, match=message):
        if at == "preview":
            run(comfy, "motion_combine", "MotionPreview", motion, W, H, F)
        else:
            plain = SimpleNamespace(seed=1, generate_noise=lambda latent: latent["samples"])
            samples = torch.zeros(1, 4, (F - 1) // 4 + 1, H // 8, W // 8)
            WarpedHostNoise(plain, motion, 0.9, 8, 4).generate_noise({"samples": samples})


def test_motions_are_combined_in_order(comfy: Host) -> None:
    parts = {"motion0": Camera(pan=8), "motion1": Drag((10, 10, 4), [(10, 10), (20, 10)])}
    (motion,) = run(comfy, "motion_combine", "MotionCombine", parts)
    assert motion == parts["motion0"] + parts["motion1"]  # type: ignore[operator]
    (moved,) = run(comfy, "motion_drag", "MotionTracks", tracks((20, 24)), 0, 0)
    with pytest.raises(InputError, match=r"Tracks .part 2. moves the entire frame and would replace"):
        run(comfy, "motion_combine", "MotionCombine", {"motion0": Camera(pan=8), "motion1": moved})
    with pytest.raises(InputError, match="no motion is connected"):
        run(comfy, "motion_combine", "MotionCombine", {"motion0": None})


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path) -> None:
    """The real ComfyUI's previews are written there."""
    if folder_paths := sys.modules.get("folder_paths"):
        folder_paths.set_temp_directory(str(tmp_path))  # type: ignore[attr-defined]


def test_a_preview_shows_a_clip_at_the_node(comfy: Host) -> None:
    node = comfy.load_nodes("motion_combine").MotionPreview
    found = node.execute(Camera(pan=16), W, H, F, first_frame=panning()[:1])
    (frames,) = found.result
    assert frames.shape == (F, H, W, 3) and 0 <= frames.min() < frames.max() <= 1 and found.ui.is_animated
    assert (frames[0] - frames[-1]).abs().mean() > 0.01
    assert node.execute(Camera(pan=16), W, H, 1).ui.is_animated is False
    with pytest.raises(ValueError, match="first_frame is 64x48 and the preview 64x64"):
        node.execute(Camera(pan=16), 64, 64, F, first_frame=panning()[:1])


def cut(comfy: Host, image: torch.Tensor, region: Any, **more: Any) -> tuple[Any, ...]:
    path = {"move_x": 16.0, "move_y": 4.0, "scale": 1.0, "rotate": 0.0, "ease": "linear"}
    values = {**path, "length": F, "outline": "region", **more}
    return run(comfy, "motion_cut", "MotionCutAndDrag", image, region, **values)


@pytest.mark.parametrize("path", ["points", "tracks"])
def test_a_cut_out_region_is_dragged_over_the_image(path: str, comfy: Host) -> None:
    given = {"tracks": tracks((20, 24), move=(16.0, 4.0))} if path == "tracks" else {}
    motion, clip, mask = cut(comfy, scene(disc()), disc(), **given)
    assert clip.shape == (F, H, W, 3) and mask.shape == (F, H, W)
    assert torch.allclose(clip[-1], scene(disc(36, 28))[0], atol=0.02)  # the object is there, its old place filled
    assert torch.allclose(mask[-1], disc(36, 28)[0], atol=1e-3)
    np.testing.assert_allclose(shift_at(motion, 20, 24), (16, 4), atol=1e-3)


@pytest.mark.parametrize("more", [{}, {"scale": 1.5, "rotate": 30.0}, {"motion": Camera(pan=16)}])
def test_the_first_frame_of_a_cut_is_the_image(comfy: Host, more: dict[str, Any]) -> None:
    """At the region's rim, too, where the object has soft edges."""
    levels = torch.randint(0, 256, (1, H, W, 3), generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(disc(), 3, stride=1, padding=1)
    _, clip, _ = cut(comfy, levels / 255, soft, **more)
    assert torch.equal((255 * clip[0]).round().int(), levels[0].int())
    assert not torch.equal(clip[0], clip[1])


def test_the_background_of_a_cut_may_be_given(comfy: Host) -> None:
    plate = torch.full((1, H, W, 3), 0.25)
    _, clip, _ = cut(comfy, scene(disc()), disc(), background=plate)
    assert torch.allclose(clip[-1, 24, 16], torch.full((3,), 0.25), atol=0.01) and (clip[-1, 28, 36] > 0.99).all()
    with pytest.raises(InputError, match="background is 32x24 and the image 64x48"):
        cut(comfy, scene(disc()), disc(), background=plate[:, :24, :32])


def test_the_outline_of_a_boxed_object_is_found(comfy: Host) -> None:
    box = {"x": 10, "y": 14, "width": 20, "height": 20}
    _, clip, mask = cut(comfy, scene(disc()), box, outline="object")
    assert disc().sum() < mask[0].sum() < disc(radius=10).sum() and (clip[-1, 28, 36] > 0.99).all()
    with pytest.raises(InputError, match="no object that differs"):
        cut(comfy, torch.full((1, H, W, 3), 0.5), box, outline="object")


def test_a_mask_of_another_size_than_the_image_is_refused(comfy: Host) -> None:
    with pytest.raises(InputError, match="the mask is 8x8, the clip is 64x48"):
        cut(comfy, scene(disc()), torch.ones(1, 8, 8))
    with pytest.raises(InputError, match=r"image=\[1, 48, 64\] must be an IMAGE"):
        cut(comfy, disc(), disc())


def driven(comfy: Host, video: Any, timing: str = "frame by frame", **more: Any) -> Motion:
    (motion,) = run(comfy, "motion_transfer", "MotionTransfer", video, more.pop("fit", "crop"), timing, **more)
    assert isinstance(motion, Motion)
    return motion


def measured(motion: Motion, frames: int = F) -> np.ndarray:
    """Median flow per frame, px."""
    return np.median(compile_motion(motion, frames, H, W).flow()[:, :, 8:-8, 8:-8], axis=(0, 2, 3))


def flow_of(comfy: Host, images: torch.Tensor, **more: Any) -> tuple[Any, ...]:
    return run(comfy, "optical_flow", "OpticalFlow", images, "fine", **more)


@pytest.mark.parametrize("kind", ["frames", "flow"])
@pytest.mark.parametrize(
    ("timing", "frames", "expected"),
    [
        pytest.param("frame by frame", F, 2.0, id="one to one"),
        pytest.param("spread over the clip", 17, 1.0, id="half as fast"),
        pytest.param("spread over the clip", 5, 4.0, id="twice as fast"),
    ],
)
def test_the_motion_of_a_video_is_transferred(
    kind: str, timing: str, frames: int, expected: float, comfy: Host
) -> None:
    images = panning()
    video = images if kind == "frames" else flow_of(comfy, images)[0]
    np.testing.assert_allclose(measured(driven(comfy, video, timing), frames), (expected, 0), atol=0.15)


def test_a_driving_video_of_another_size_is_scaled_and_cropped(comfy: Host) -> None:
    wide = panning(step=4, height=96, width=256)
    for video in (wide, flow_of(comfy, wide)[0]):
        np.testing.assert_allclose(measured(driven(comfy, video)), (2, 0), atol=0.15)
        with pytest.raises(InputError, match="the driving video is 256x96 and the clip 64x48"):
            measured(driven(comfy, video, fit="exact"))


def test_a_video_keeps_its_pace_at_the_clip_s_rate(comfy: Host) -> None:
    parts = SimpleNamespace(images=panning(17), frame_rate=Fraction(32))
    video = SimpleNamespace(get_components=lambda: parts)
    np.testing.assert_allclose(measured(driven(comfy, video, fps=16.0)), (4, 0), atol=0.15)
    np.testing.assert_allclose(measured(driven(comfy, video)), (2, 0), atol=0.15)
    with pytest.raises(InputError, match="fps=nan"):
        driven(comfy, video, fps=NAN)


def test_a_video_that_is_too_short_is_refused(comfy: Host) -> None:
    with pytest.raises(InputError, match="video has a single frame"):
        driven(comfy, panning(1))
    with pytest.raises(InputError, match=r"images=1 frame: motion needs at least two"):
        flow_of(comfy, panning(1))
    with pytest.raises(InputError, match="the driving video has 5 frames, the clip 9"):
        measured(driven(comfy, panning(5)))


def test_flow_is_drawn_in_the_colour_of_its_direction(comfy: Host) -> None:
    pair, colours = flow_of(comfy, panning())
    assert isinstance(pair, FlowPair) and colours.shape == (F - 1, H, W, 3)
    red, green, blue = colours[:, 8:-8, 8:-8].flatten(0, 2).median(0).values
    assert red > 0.9 and green < 0.25 and blue < 0.25, "to the right is red"


def test_a_loaded_model_measures_in_place_of_a_method(comfy: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    class Raft(torch.nn.Module):
        def forward(self, first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
            assert first.shape == (1, 3, 128, 128) and -1 <= first.min() < 0 < first.max() <= 1
            return [torch.zeros_like(first[:, :2]), torch.full_like(first[:, :2], 3.0)]

    node = comfy.load_nodes("optical_flow").OpticalFlow
    loaded: list[Any] = []
    monkeypatch.setattr(import_module("comfy.model_management"), "load_model_gpu", loaded.append)
    patcher = SimpleNamespace(model=Raft(), load_device="cpu")
    pair, _ = node.execute(panning(3), "fine", patcher).result
    assert loaded == [patcher]
    assert pair.forward.shape == (2, 2, H, W) and (pair.forward == 3).all() and (pair.backward == 3).all()


def test_a_video_s_flow_is_part_of_a_description() -> None:
    from videogen.motion import to_layers

    flow, valid = np.zeros((2, 2, 4, 6), np.float32), np.ones((2, 4, 6), bool)
    (layer,) = to_layers(Transfer(FlowPair(flow, flow, valid, valid), timing="stretch"))
    assert layer["timing"] == "stretch" and layer["video"].startswith("array 2x2x4x6 float32")
