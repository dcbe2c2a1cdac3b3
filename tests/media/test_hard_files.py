"""Damaged, odd and hostile files: the correct frames or a MediaError, never a wrong clip, a connection or a bomb."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from videogen import MediaError, Video
from videogen.media.images import read_still
from videogen.media.probe import MediaLimits, probe
from videogen.media.reader import read_video

from .test_round_trips import clip


def write(
    path: Path, frames: np.ndarray, codec: str = "libx264", pix_fmt: str = "yuv420p", times: list[int] | None = None
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pix_fmt
        stream.codec_context.time_base = Fraction(1, 100)
        if codec == "libvpx-vp9":
            stream.options = {"auto-alt-ref": "0"}
        for i, frame in enumerate(frames):
            image = av.VideoFrame.from_ndarray(frame, format="rgba" if frames.shape[3] == 4 else "rgb24")
            image.pts, image.time_base = (times or [10 * i for i in range(len(frames))])[i], Fraction(1, 100)
            for packet in stream.encode(image):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_an_error(tmp_path: Path, fraction: float) -> None:
    data = Video(clip(40, 96, 64)).save(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(MediaError, match=r"truncated|damaged"):
        read_video(tmp_path / "cut.mp4")


@pytest.mark.parametrize(("name", "fraction"), [("a.gif", 0.3), ("a.gif", 0.9), ("a.webm", 0.3), ("a.webm", 0.6)])
def test_a_truncated_file_without_a_count_is_an_error(tmp_path: Path, name: str, fraction: float) -> None:
    data = Video(clip(40, 96, 64), 8).save(tmp_path / name).read_bytes()
    (tmp_path / f"cut-{name}").write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(MediaError, match="truncated"):
        read_video(tmp_path / f"cut-{name}")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00" * 5000, b"RIFF1234AVI LIST"], ids=["empty", "text", "zeros", "header only"]
)
def test_a_file_that_is_not_a_video_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(MediaError):
        read_video(tmp_path / "a.mp4")


def test_flipped_bytes_give_an_error_or_complete_frames(tmp_path: Path) -> None:
    path = Video(clip(20, 96, 64)).save(tmp_path / "a.mp4")
    data, rng, errors = path.read_bytes(), np.random.default_rng(0), 0
    for trial in range(12):
        damaged = bytearray(data)
        for at in rng.integers(len(data) // 3, len(data), 20):
            damaged[at] ^= 0xFF
        (tmp_path / f"{trial}.mp4").write_bytes(damaged)
        try:
            assert read_video(tmp_path / f"{trial}.mp4").frames.shape == (20, 64, 96, 3)
        except MediaError:
            errors += 1
    assert errors >= 8


def test_a_varying_rate_has_exact_times(tmp_path: Path) -> None:
    times = [0, 10, 15, 50, 90]
    video = read_video(write(tmp_path / "a.mkv", clip(5), times=times))
    assert video.times_s is not None and np.allclose(video.times_s, np.array(times) / 100)


def test_ten_bit_becomes_eight(tmp_path: Path) -> None:
    frames = clip(4)
    video = read_video(write(tmp_path / "a.mkv", frames, pix_fmt="yuv420p10le"))
    assert video.frames.dtype == np.uint8 and np.abs(video.frames.astype(int) - frames).mean() < 12


def test_alpha_is_returned_separately(tmp_path: Path) -> None:
    frames = np.concatenate([clip(4, 64, 64), np.zeros((4, 64, 64, 1), np.uint8)], -1)
    frames[:, :, 32:, 3] = 255
    video = read_video(write(tmp_path / "a.webm", frames, "libvpx-vp9", "yuva420p"))
    assert video.alpha is not None and video.alpha[:, :, :24].max() < 30 and video.alpha[:, :, 40:].min() > 225


def test_rotation_is_applied(tmp_path: Path) -> None:
    """A rotation of 90 degrees, written into the track header of an mp4 as phones do."""
    frames = np.zeros((4, 32, 64, 3), np.uint8)
    frames[:, :, :32] = (220, 30, 30)  # the left half is red
    path = Video(frames).save(tmp_path / "a.mp4")
    data = path.read_bytes()
    upright = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    rotated = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0x20 << 16, 0, 0x40000000)
    at = data.index(b"tkhd")
    (tmp_path / "b.mp4").write_bytes(data[:at] + data[at:].replace(upright, rotated, 1))
    video = read_video(tmp_path / "b.mp4")
    assert video.size == (32, 64)
    top, bottom = video.frames[:, :24].mean((0, 1, 2)), video.frames[:, 40:].mean((0, 1, 2))
    assert top[0] > 180 and bottom[0] < 40  # rotated clockwise, the left half is at the top


def test_part_of_a_clip(tmp_path: Path) -> None:
    path = Video(clip(9)).save(tmp_path / "folder")
    assert np.array_equal(read_video(path, start=2, frames=3).frames, clip(9)[2:5])
    with pytest.raises(MediaError, match="no image from number 99"):
        read_video(path, start=99)


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/a.mp4", "concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:a.mp4", "pipe:0"]
)
def test_names_are_never_protocols(name: str) -> None:
    with pytest.raises(MediaError, match=r"does not exist|is not a file"):
        read_video(name)


def test_a_playlist_disguised_as_a_video_opens_no_other_file(tmp_path: Path) -> None:
    Video(clip(3)).save(tmp_path / "secret.mp4")
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile 'secret.mp4'\n")
    with pytest.raises(MediaError):
        read_video(tmp_path / "a.mp4")


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = Video(clip(30, 256, 256)).save(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="would decode to 256x256, 30 frames"):
        probe(path, MediaLimits(decoded_bytes=1 << 20))
    with pytest.raises(MediaError, match="128 px per side"):
        read_video(path, limits=MediaLimits(side_px=128))


def test_images_of_one_folder_must_agree(tmp_path: Path) -> None:
    path = Video(clip(2)).save(tmp_path / "folder")
    (path / "frame_00002.png").write_bytes(
        (Video(clip(1, 16, 16)).save(tmp_path / "other") / "frame_00000.png").read_bytes()
    )
    with pytest.raises(MediaError, match="16x16 and the first image 48x32"):
        read_video(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.tif", "read are videos (MP4 and QuickTime, Matroska and WebM, AVI,"),
        ("a.heic", "images (PNG, JPEG, WebP, BMP, GIF) and folders of images: convert it first"),
        ("a", "read are videos"),
        ("a.mp4", "it may be damaged or not a video"),
    ],
)
def test_a_file_of_another_format_names_those_that_are_read(tmp_path: Path, name: str, message: str) -> None:
    Image.fromarray(clip(1)[0]).save(tmp_path / name, format="TIFF")
    with pytest.raises(MediaError, match=re.escape(message)):
        Video.open(tmp_path / name)
    with pytest.raises(MediaError, match=r"not an image of a format that is read: PNG, JPEG, WebP, BMP, GIF"):
        read_still(tmp_path / name)
