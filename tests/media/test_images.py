"""Still and animated images: orientation, 16 bits, times, alpha, and folders with other files in them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from videogen import MediaError, Video
from videogen.media.images import read_still
from videogen.media.probe import MediaLimits
from videogen.media.reader import read_video

from .test_round_trips import MANIFEST, clip

#: how a stored image is turned upright, by EXIF's orientation, as Pillow does
TURNS: dict[int, Any] = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


@pytest.mark.parametrize("orientation", [*TURNS, 0, 9])
@pytest.mark.parametrize(
    ("suffix", "mode"), [("jpg", "RGB"), ("jpg", "L"), ("png", "P"), ("png", "RGBA"), ("webp", "RGB")]
)
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, mode: str, orientation: int) -> None:
    stored = Image.fromarray(clip(1)[0]).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif)
    with Image.open(path) as plain:
        turn = TURNS.get(orientation)
        expected = plain.convert("RGB") if turn is None else plain.convert("RGB").transpose(turn)
    assert np.array_equal(Video.open(path).frames[0], np.asarray(expected))


def write_png(path: Path, array: np.ndarray, colour_type: int) -> Path:
    """A PNG of big-endian uint16 [height, width, channels], which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)

    def block(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour_type, 0, 0, 0)
    content = block(b"IHDR", header) + block(b"IDAT", zlib.compress(rows)) + block(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize(
    ("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["grey", "rgb", "la", "rgba"]
)
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, colour_type: int, channels: int) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(1, 64, 1).repeat(channels, 2)
    video = Video.open(write_png(tmp_path / "a.png", values, colour_type))
    assert np.abs(video.frames[0].astype(float) - values[..., :1] / 257).max() <= (0.51 if channels == 1 else 1)
    assert (video.alpha is not None) == (channels in (2, 4))


DURATIONS = [80, 80, 200, 40, 80]


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.apng", "a.webp"])
def test_animations_have_all_frames_at_their_times(tmp_path: Path, name: str) -> None:
    frames = clip(5)
    images = [Image.fromarray(frame) for frame in frames]
    options: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
    if name.endswith("png"):
        options["format"] = "PNG"
    images[0].save(tmp_path / name, save_all=True, append_images=images[1:], duration=DURATIONS, **options)
    video = Video.open(tmp_path / name)
    assert len(video) == 5 and video.times_s is not None and np.allclose(video.times_s, [0, 0.08, 0.16, 0.36, 0.4])
    assert float(video.fps) == pytest.approx(5 / 0.48, rel=1e-3) and video.alpha is None
    assert np.abs(video.frames.astype(int) - frames).mean() <= (12 if name == "a.gif" else 0)
    part = read_video(tmp_path / name, start=1, frames=2)
    assert np.array_equal(part.frames, video.frames[1:3]) and part.times_s is not None
    assert np.allclose(part.times_s, [0.08, 0.16]) and len(read_video(tmp_path / name, start=1, seconds=0.1)) == 3


def test_the_still_of_an_animated_png_for_other_viewers_is_not_a_frame(tmp_path: Path) -> None:
    images = [Image.fromarray(frame) for frame in clip(5)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:], duration=50, default_image=True)
    video = Video.open(tmp_path / "a.png")
    assert np.array_equal(video.frames, clip(5)[1:]) and float(video.fps) == 20


@pytest.mark.parametrize(("stored_ms", "expected_s"), [(0, 0.1), (10, 0.1), (20, 0.02)])
def test_too_short_frames_last_as_long_as_in_browsers(tmp_path: Path, stored_ms: int, expected_s: float) -> None:
    images = [Image.fromarray(frame) for frame in clip(3)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=stored_ms)
    assert float(1 / Video.open(tmp_path / "a.gif").fps) == pytest.approx(expected_s)


def test_transparent_pixels_are_alpha_and_opaque_images_have_none(tmp_path: Path) -> None:
    rgba = np.concatenate([clip(2), np.full((2, 32, 48, 1), 255, np.uint8)], -1)
    (tmp_path / "folder").mkdir()
    for index, image in enumerate(rgba):
        Image.fromarray(image).save(tmp_path / "folder" / f"{index}.png")
    assert Video.open(tmp_path / "folder").alpha is None
    rgba[1, :, :24, 3] = 0
    Image.fromarray(rgba[1]).save(tmp_path / "folder" / "1.png")
    alpha = Video.open(tmp_path / "folder").alpha
    assert alpha is not None and alpha[0].min() == 255 and alpha[1, :, :24].max() == 0
    images = [Image.fromarray(image) for image in rgba]
    images[1].save(tmp_path / "a.gif", save_all=True, append_images=images[:1], duration=80, disposal=2)
    gif = Video.open(tmp_path / "a.gif")
    assert gif.alpha is not None and gif.alpha[0, :, :24].max() == 0 and gif.alpha[1].min() == 255


def test_a_gif_of_ours_can_be_saved_again(tmp_path: Path) -> None:
    first = Video(clip(9), 10, MANIFEST).save(tmp_path / "a.gif")
    for name in ("b.gif", "b.mp4", "b"):
        assert len(Video.open(Video.open(first).save(tmp_path / name))) == 9


def test_hidden_files_are_not_part_of_a_folder(tmp_path: Path) -> None:
    path = Video(clip(3)).save(tmp_path / "folder")
    for name in ("._frame_00000.png", ".DS_Store", ".hidden.jpg"):
        (path / name).write_bytes(b"\0\5\x16\7Mac OS X")
    assert np.array_equal(Video.open(path).frames, clip(3))


def test_one_animated_image_in_a_folder_is_refused(tmp_path: Path) -> None:
    path = Video(clip(2)).save(tmp_path / "folder")
    images = [Image.fromarray(frame) for frame in clip(3)]
    images[0].save(path / "frame_00002.png", save_all=True, append_images=images[1:])
    with pytest.raises(MediaError, match=r"frame_00002.png is animated \(3 frames\) where one image is needed"):
        Video.open(path)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.jpg", "a.bmp"])
def test_truncated_and_other_content_is_an_error(tmp_path: Path, name: str) -> None:
    images = [Image.fromarray(frame) for frame in clip(3)]
    several: dict[str, Any] = {} if name in ("a.jpg", "a.bmp") else {"save_all": True, "append_images": images[1:]}
    images[0].save(tmp_path / name, **several)
    data = (tmp_path / name).read_bytes()
    for size in (0, 5, 30, len(data) // 3, len(data) // 2, len(data) - 20):
        (tmp_path / name).write_bytes(data[:size])
        with pytest.raises(MediaError, match=f"{name} "):
            Video.open(tmp_path / name)
    (tmp_path / name).write_text("not an image, only called so")
    with pytest.raises(MediaError, match="not what its suffix says"):
        Video.open(tmp_path / name)


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(clip(1)[0]).save(tmp_path / "a.mp4", format="PNG")
    assert np.array_equal(Video.open(tmp_path / "a.mp4").frames, clip(1))


def test_limits_and_positions(tmp_path: Path) -> None:
    images = [Image.fromarray(frame) for frame in clip(9)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=80)
    images[0].save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="47 px per side"):
        read_video(tmp_path / "a.png", limits=MediaLimits(side_px=47))
    small = MediaLimits(decoded_bytes=4 * 32 * 48 * 3)
    with pytest.raises(MediaError, match="would decode to"):
        read_video(tmp_path / "a.gif", limits=small)
    assert len(read_video(tmp_path / "a.gif", limits=small, frames=4)) == 4
    for name, start, found in (("a.gif", 9, 9), ("a.png", 1, 1)):
        with pytest.raises(MediaError, match=f"no frame from {start} on \\({found} in all\\)"):
            read_video(tmp_path / name, start=start)


def test_a_still_is_one_image(tmp_path: Path) -> None:
    Image.fromarray(clip(1)[0]).save(tmp_path / "a.png")
    assert np.array_equal(read_still(tmp_path / "a.png").frames, clip(1)) and Video.open(tmp_path / "a.png").fps == 1
    with pytest.raises(MediaError, match="is not an image"):
        read_still(Video(clip(3)).save(tmp_path / "a.mp4"))
