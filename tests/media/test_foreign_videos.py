"""Videos of other programs: sound, edit lists, turned and mirrored tracks, HDR, pixel aspect, interlacing, excerpts."""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from videogen import InputError, MediaError, Video
from videogen.media.probe import MediaLimits
from videogen.media.pyav_reader import find_rate
from videogen.media.reader import read_video

from .test_images import TURNS
from .test_round_trips import clip


def write(
    path: Path, frames: np.ndarray, *, codec: str = "libx264", pix_fmt: str = "yuv420p", sound_s: float = 0.0,
    options: dict[str, str] | None = None, **attributes: Any,
) -> Path:  # fmt: skip
    """A clip at 10 fps with so many seconds of silence. attributes: of the codec's context."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pix_fmt
        for name, value in attributes.items():
            setattr(stream.codec_context, name, value)
        sound: Any = container.add_stream("libopus", rate=48000, layout="mono") if sound_s else None
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for start in range(0, int(sound_s * 48000), 960) if sound else ():
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="flt", layout="mono")
            silence.sample_rate, silence.pts, silence.time_base = 48000, start, Fraction(1, 48000)
            container.mux(sound.encode(silence))
        if sound:
            container.mux(sound.encode())
    return path


def remux(source: Path, target: Path, shift: int = 0, options: dict[str, str] | None = None) -> Path:
    """Copy the packets, `shift` frames later."""
    with av.open(str(source)) as reading, av.open(str(target), "w", options=options or {}) as writing:
        track = writing.add_stream_from_template(reading.streams.video[0])
        for packet in reading.demux(reading.streams.video[0]):
            if packet.size:
                ticks = round(shift / 10 / packet.time_base)
                packet.stream, packet.pts, packet.dts = track, packet.pts + ticks, packet.dts + ticks
                writing.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4", ".ts"])
def test_sound_may_outlast_the_frames(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    path = write(tmp_path / f"a{suffix}", clip(30), codec=codec, sound_s=6)
    video = Video.open(path)
    assert len(video) == 30 and video.notes == ("its sound is not read: a saved copy is silent",)


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.85])
def test_a_truncated_file_with_sound_is_an_error(tmp_path: Path, suffix: str, fraction: float) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    path = write(tmp_path / f"a{suffix}", clip(90), codec=codec, sound_s=9)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    with pytest.raises(MediaError, match="truncated"):
        Video.open(path)


@pytest.mark.parametrize("hidden", [1, 5, 12])
def test_frames_that_an_edit_list_hides_stay_hidden(tmp_path: Path, hidden: int) -> None:
    path = write(tmp_path / "a.mp4", clip(30))
    edited = remux(path, tmp_path / "b.mp4", -hidden, {"avoid_negative_ts": "disabled"})
    video = Video.open(edited)
    assert np.array_equal(video.frames, Video.open(path).frames[hidden:]) and video.fps == 10


#: a, b, c and d of the display matrix that turns a track as EXIF's orientation does
MATRICES = {
    1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
    5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("orientation", MATRICES)
def test_tracks_are_turned_and_mirrored(tmp_path: Path, orientation: int) -> None:
    from PIL import Image

    path = Video(clip(2)).save(tmp_path / "a.mp4")
    a, b, c, d = (value << 16 for value in MATRICES[orientation])
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    at = data.index(b"tkhd")
    (tmp_path / "b.mp4").write_bytes(data[:at] + data[at:].replace(upright, turned, 1))
    expected = Image.fromarray(Video.open(path).frames[1])
    turn = TURNS[orientation]
    assert np.array_equal(
        Video.open(tmp_path / "b.mp4").frames[1], np.asarray(expected if turn is None else expected.transpose(turn))
    )


LOSSES: list[tuple[str, dict[str, Any], str]] = [
    ("PQ", {"pix_fmt": "yuv420p10le", "color_trc": 16, "color_primaries": 9}, r"HDR \(PQ\), read as if it were SDR"),
    ("HLG", {"pix_fmt": "yuv420p10le", "color_trc": 18, "color_primaries": 9}, r"HDR \(HLG\)"),
    ("BT.2020", {"color_primaries": 9, "color_trc": 14}, "wide-gamut"),
    ("anamorphic", {"sample_aspect_ratio": Fraction(4, 3)}, r"not square \(4:3\): frames are 48x32 .* show 64x32"),
    ("interlaced", {"options": {"x264-params": "tff=1"}}, "interlaced: moving edges are combed"),
]


@pytest.mark.parametrize(("settings", "note"), [row[1:] for row in LOSSES], ids=[row[0] for row in LOSSES])
def test_what_the_frames_do_not_show_is_noted(
    tmp_path: Path, settings: dict[str, Any], note: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.mkv", clip(5), **settings)
    with caplog.at_level(logging.WARNING, "videogen"):
        video = Video.open(path)
    assert len(video.notes) == 1 and len(caplog.records) == 1
    assert re.search(note, video.notes[0]) and video.notes[0] in caplog.text


def test_files_of_ours_have_no_notes(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.webm", "a.gif", "a"):
        assert Video.open(Video(clip(3)).save(tmp_path / name)).notes == ()


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"seconds": 0.0}, range(0, 2)),
        ({"seconds": 1.0}, range(0, 12)),
        ({"seconds": 0.95}, range(0, 11)),
        ({"start": 5, "seconds": 0.5}, range(5, 12)),
        ({"frames": 3, "seconds": 1.0}, range(0, 3)),
        ({"start": 28, "seconds": 60.0}, range(28, 30)),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "folder"])
def test_seconds_are_read_with_the_next_frame(tmp_path: Path, name: str, part: Any, expected: Iterable[int]) -> None:
    path = Video(clip(30), 10).save(tmp_path / name) if name == "folder" else write(tmp_path / name, clip(30))
    video = read_video(path, **part)
    assert np.array_equal(video.frames, Video.open(path).frames[list(expected)])
    if video.times_s is not None:
        assert np.allclose(video.times_s, np.array(list(expected)) / 10)


def test_only_what_is_read_counts_for_the_limit(tmp_path: Path) -> None:
    small = MediaLimits(decoded_bytes=6 * 32 * 48 * 3)
    for path in (write(tmp_path / "a.mkv", clip(30)), Video(clip(30), 10).save(tmp_path / "folder")):
        assert len(read_video(path, seconds=0.4, limits=small)) == 6
        with pytest.raises(MediaError, match="decode"):
            read_video(path, limits=small)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_seconds_that_are_no_duration_are_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(InputError, match="seconds="):
        read_video(Video(clip(3)).save(tmp_path / "a.mp4"), seconds=seconds)


@pytest.mark.parametrize(
    ("declared", "times", "expected"),
    [
        (60, np.arange(30) / 30, 30),
        (Fraction(30000, 1001), np.arange(30) * 1.001 / 30, Fraction(30000, 1001)),
        (22, np.array([0, 0.04, 0.08, 1.2]), 22),
        (25, np.array([0.0]), 25),
        (25, np.array([0.0, 0.0, 0.0]), 25),
    ],
    ids=["AVI with reordered frames", "agrees", "varies: the mean", "one frame", "no times"],
)
def test_a_rate_that_contradicts_even_times_is_replaced(declared: Any, times: np.ndarray, expected: Any) -> None:
    assert find_rate(Fraction(declared), times) == expected
