"""Driving videos are read as far as the clip needs them, and first frames as they are displayed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media.test_foreign_videos import write
from tests.media.test_images import TURNS, write_png
from tests.media.test_round_trips import clip
from videogen import MediaError, Video
from videogen.media.probe import MediaLimits
from videogen.motion import Transfer, compile_motion
from videogen.motion.control import MotionControl
from videogen.motion.image_files import read_mask_image, read_rgba_image
from videogen.techniques.driving_video import DrivingVideoReader
from videogen.techniques.motion_plan import plan_motion, read_first_frame

SIZE = (32, 48)


@pytest.mark.parametrize(
    ("frames", "fps", "rate", "expected"),
    [
        (33, 16, 30, 62),
        (33, 16, 16, 34),
        (17, Fraction(24), 12, 10),
        (9, None, 30, 9),
    ],
    ids=["2 s at 30 per second", "same rate", "a slow video", "unknown rate: frame by frame"],
)
def test_only_what_the_clip_needs_is_read(
    tmp_path: Path, frames: int, fps: Any, rate: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file as a total exceeds the limit, as 60 s of 1080p60 do."""
    path = Video(clip(90), rate).save(tmp_path / "a.mp4")
    monkeypatch.setattr("videogen.media.reader.MediaLimits", lambda: MediaLimits(decoded_bytes=62 * 48 * 32 * 3))
    with pytest.raises(MediaError, match="would decode"):
        Video.open(path)
    video = DrivingVideoReader(frames, fps)(path)
    assert len(video) == expected and video.fps == rate


@pytest.mark.parametrize(("rate", "count"), [(30, 90), (8, 17), (16, 33)])
def test_the_motion_is_that_of_the_full_video(tmp_path: Path, rate: int, count: int) -> None:
    path = Video(clip(count), rate).save(tmp_path / "a.mp4")
    plans = [
        compile_motion(Transfer(path), 33, *SIZE, fps=16, read_video=reader)
        for reader in (Video.open, DrivingVideoReader(33, 16))
    ]
    previews = [plan.preview() for plan in plans]
    assert np.array_equal(previews[0], previews[1])


def test_a_folder_without_a_rate_is_matched_frame_by_frame(tmp_path: Path) -> None:
    path = Video(clip(9), 8).save(tmp_path / "folder")
    assert len(DrivingVideoReader(5, 8)(path)) == 6 and len(DrivingVideoReader(5, None)(path)) == 5
    (path / "manifest.json").unlink()
    found = DrivingVideoReader(5, 8)(path)
    assert isinstance(found, np.ndarray) and len(found) == 5


def test_losses_are_noted(tmp_path: Path) -> None:
    reader = DrivingVideoReader(5, 8)
    reader(write(tmp_path / "a.mkv", clip(10), sound_s=1, sample_aspect_ratio=Fraction(4, 3)))
    path = tmp_path / "a.mkv"
    assert reader.notes[0] == f"{path}: its sound is not used: the clip is silent" and len(reader.notes) == 2
    assert f"{path}: its pixels are not square (4:3)" in reader.notes[1]


def test_losses_and_held_frames_are_recorded_in_the_manifest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", clip(10), sound_s=1, sample_aspect_ratio=Fraction(4, 3))
    settings = SimpleNamespace(spec=Transfer(path), control=MotionControl("dual_clock"), strength=1.0, first_frame=None)
    request: Any = SimpleNamespace(motion=settings, frames=11, generated_frames=13, height=32, width=48, fps=10)
    backbone: Any = None
    planned = plan_motion(request, backbone)
    assert planned is not None and len(planned.to_manifest()["notes"]) == 3
    sound, pixels, held = planned.to_manifest()["notes"]
    assert "sound is not used" in sound and "not square" in pixels and held.endswith("its last frame is held")


def test_a_first_frame_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.fromarray(clip(1, 32, 48)[0])
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    motion: Any = SimpleNamespace(first_frame=str(tmp_path / "a.png"), plan=SimpleNamespace(height=48, width=32))
    found = read_first_frame(motion)
    assert found is not None and np.array_equal(found, np.asarray(upright))
    motion.first_frame = str(tmp_path / "none.png")
    with pytest.raises(MediaError, match="does not exist"):
        read_first_frame(motion)


SPRITE = np.concatenate([clip(1)[0], np.arange(32 * 48, dtype=np.uint8).reshape(32, 48, 1)], 2)
IMAGES = [
    pytest.param("a.jpg", SPRITE[..., :3], {"quality": 100}, id="jpeg"),
    pytest.param("a.png", SPRITE[..., :3], {}, id="png"),
    pytest.param("a.png", SPRITE, {}, id="png with alpha"),
    pytest.param("a.webp", SPRITE, {"lossless": True, "exact": True}, id="webp with alpha"),
]


@pytest.mark.parametrize("orientation", [1, 5, 6, 8])
@pytest.mark.parametrize(("name", "pixels", "options"), IMAGES)
def test_sprites_and_masks_are_turned_in_the_same_way(
    tmp_path: Path, name: str, pixels: np.ndarray, options: dict[str, Any], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / name, exif=exif, **options)
    turn = TURNS[orientation]
    with Image.open(tmp_path / name) as stored:
        upright = np.asarray(stored.convert("RGBA") if turn is None else stored.convert("RGBA").transpose(turn))
    assert np.array_equal(read_rgba_image(tmp_path / name), upright)
    grey = upright[..., :3] @ (0.299, 0.587, 0.114)
    assert np.abs(read_mask_image(tmp_path / name) - grey).max() <= 1


def test_masks_of_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(1, 64, 1)
    assert np.abs(read_mask_image(write_png(tmp_path / "a.png", values, 0)) - values[..., 0] / 257).max() <= 0.51
