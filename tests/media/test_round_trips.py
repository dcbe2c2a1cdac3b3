"""Round trips of frames, rate, manifest and colours; partially written files are never visible."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from videogen import InputError, MediaError, Video
from videogen.media.metadata import read_manifest
from videogen.media.probe import probe
from videogen.media.writer import VideoWriter, check_target, timing_notes

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = {"schema": 1, "request": {"prompt": 'a "red"\nball \U0001f534', "fps": 8}, "model": {}}


def clip(count: int = 9, width: int = 48, height: int = 32) -> np.ndarray:
    """A smooth moving image, so that lossy codecs preserve it."""
    t, y, x = np.mgrid[0:count, 0:height, 0:width]
    return np.stack(
        [128 + 100 * np.sin(x / 9 + t / 3), 128 + 100 * np.cos(y / 7 - t / 4), 60 + 4 * t + 0 * x], -1
    ).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "width", "height", "worst"),
    [
        ("a.mp4", 48, 32, 4.0),
        ("a.mkv", 48, 32, 4.0),
        ("a.webm", 48, 32, 4.0),
        ("a.gif", 48, 32, 12.0),
        ("folder", 48, 32, 0.0),
        ("odd.webm", 47, 31, 4.0),
    ],
    ids=["h264", "h264 in mkv", "vp9", "gif: 256 colours", "png: exact", "vp9 odd size"],
)
def test_frames_rate_and_manifest_are_read_back(
    tmp_path: Path, name: str, width: int, height: int, worst: float
) -> None:
    frames = clip(9, width, height)
    path = Video(frames, Fraction(8), MANIFEST).save(tmp_path / name)
    video = Video.open(path)
    assert video.frames.shape == frames.shape and float(video.fps) == pytest.approx(8, rel=0.05)
    assert np.abs(video.frames.astype(int) - frames).mean() <= worst
    assert video.manifest == MANIFEST == read_manifest(path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_colours_are_tagged_bt709(tmp_path: Path) -> None:
    path = Video(clip()).save(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
    flat = np.full((4, 32, 32, 3), (200, 40, 90), np.uint8)
    assert np.abs(Video.open(Video(flat).save(tmp_path / "b.mp4")).frames.astype(int) - flat).max() <= 4


@pytest.mark.parametrize(
    ("name", "width", "height", "coded"),
    [
        ("a.mp4", 48, 32, (48, 32)),
        ("a.mp4", 47, 32, (48, 32)),
        ("a.mp4", 48, 31, (48, 32)),
        ("a.mp4", 47, 31, (48, 32)),
        ("a.mp4", 1, 1, (2, 2)),
        ("a.webm", 47, 31, (47, 31)),
    ],
)
def test_players_get_the_subsampling_that_they_decode(
    tmp_path: Path, name: str, width: int, height: int, coded: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    """4:2:0 at any size; where H.264 needs an even side, the last column or row is repeated, and a note says so."""
    frames = clip(5, width, height)
    video = Video.open(Video(frames).save(tmp_path / name))
    assert probe(tmp_path / name).pixel_format == "yuv420p" and video.size == coded
    expected = np.pad(frames, ((0, 0), (0, coded[1] - height), (0, coded[0] - width), (0, 0)), mode="edge")
    assert np.abs(video.frames.astype(int) - expected).mean() <= 4
    notes = [record.getMessage() for record in caplog.records]
    assert len(notes) == (coded != (width, height))
    assert not notes or f"note: {name} is {coded[0]}x{coded[1]} instead of {width}x{height} px" in notes[0]


def test_writing_streams_and_counts(tmp_path: Path) -> None:
    frames = clip(10)
    with VideoWriter(tmp_path / "a.mp4", fps=16, size=(48, 32)) as writer:
        for part in (frames[:3], frames[3:]):
            writer.write(part)
    assert probe(tmp_path / "a.mp4").frames == 10


def test_an_error_leaves_nothing_and_the_old_file_untouched(tmp_path: Path) -> None:
    path = Video(clip()).save(tmp_path / "a.mp4")
    before = path.read_bytes()
    with pytest.raises(RuntimeError), VideoWriter(path, fps=16, size=(48, 32), overwrite=True) as writer:
        writer.write(clip())
        raise RuntimeError
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.mp4", "folder"])
def test_an_existing_output_is_only_replaced_when_allowed(tmp_path: Path, name: str) -> None:
    Video(clip()).save(tmp_path / name)
    with pytest.raises(InputError, match="overwrite"):
        Video(clip()).save(tmp_path / name)
    Video(clip(3)).save(tmp_path / name, overwrite=True)
    assert len(Video.open(tmp_path / name)) == 3 and [p.name for p in tmp_path.iterdir()] == [name]


def test_a_killed_writer_leaves_no_partial_file_under_the_final_name(tmp_path: Path) -> None:
    code = (
        "import numpy as np, sys\nfrom videogen.media.writer import VideoWriter\n"
        "with VideoWriter(sys.argv[1], fps=16, size=(320, 240)) as w:\n"
        "    while True: w.write(np.random.randint(0, 255, (4, 240, 320, 3), np.uint8)); print(1, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a.mp4")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stdout.readline() and process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), "floats, where NaN could hide"),
        (np.zeros((2, 8, 8, 4), np.uint8), "four channels"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no frame"),
        (np.zeros((8, 8, 3), np.uint8), "one image"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_arrays_that_are_not_frames_are_refused(frames: np.ndarray, why: str) -> None:
    with pytest.raises(InputError, match="uint8"):
        Video(frames)


def test_contact_sheet_has_first_and_last_frame() -> None:
    frames = clip(20)
    sheet = Video(frames).contact_sheet(columns=4, count=8)
    assert sheet.shape == (64, 192, 3)
    assert np.array_equal(sheet[:32, :48], frames[0]) and np.array_equal(sheet[32:, 144:], frames[-1])


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ""], ids=["mp4", "webm", "gif", "folder"])
@pytest.mark.parametrize(("count", "fps"), [(1, 8), (33, 16), (49, Fraction(30000, 1001)), (120, 24)])
def test_every_length_and_rate_is_read_back(tmp_path: Path, suffix: str, count: int, fps: Fraction) -> None:
    """Beyond 40 frames an encoder returns packets while frames are still being written: a time base read at that point
    differs."""
    video = Video.open(Video(clip(count), fps).save(tmp_path / f"a{suffix}"))
    assert len(video) == count
    tolerance = 0.02 if suffix == ".gif" else 0.005  # a GIF counts in hundredths of a second
    assert count == 1 or float(video.fps) == pytest.approx(float(fps), rel=tolerance)


def test_a_static_gif_has_every_frame(tmp_path: Path) -> None:
    still = np.full((10, 32, 32, 3), 90, np.uint8)
    video = Video.open(Video(still, 10).save(tmp_path / "a.gif"))
    assert len(video) == 10 and np.abs(video.frames.astype(int) - 90).max() <= 1


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("a.avi", {}, "'.avi'"),
        ("a.mp4", {"fps": 1e6}, "fps=1e"),
        ("a.gif", {"fps": 300.0}, "fps=300"),
        ("a.gif", {"fps": 50.5}, "fps=50.5 must be from 0.01 to 50 for .gif files; players show a faster GIF slowly"),
        ("a.mp4", {"quality": 60}, "from 0 .* to 51"),
        ("a.gif", {"quality": 10}, "leave it out"),
    ],
)
def test_unwritable_settings_are_refused_before_the_run(
    tmp_path: Path, name: str, settings: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_target(tmp_path / name, **settings)


def test_alpha_and_varying_times_are_not_dropped_silently(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="alpha"):
        Video(clip(2), alpha=np.zeros((2, 32, 48), np.uint8)).save(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="varying"):
        Video(clip(3), 10, times_s=np.array([0.0, 0.1, 0.5])).save(tmp_path / "a.mp4")
    Video(clip(3), 10, times_s=np.array([0.0, 0.1, 0.2])).save(tmp_path / "a.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_full_disk_is_a_media_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(MediaError, match="frame 0: No space left"):
        Video(clip(2)).save(tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_reading_leaves_no_frames_behind(tmp_path: Path) -> None:
    """Without a garbage collection: each frame that stays holds its decoder's buffers and a converter's threads."""
    frames = np.zeros((40, 32, 32, 3), np.uint8)
    Video(frames, 16).save(tmp_path / "clip.mp4")
    gc.collect()
    gc.disable()
    try:
        Video.open(tmp_path / "clip.mp4")
        left = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert left <= 2, "at most the key frames, whose side data was read"


@pytest.mark.parametrize(
    ("name", "fps", "note"),
    [
        ("a.gif", 16, "shown for 6 or 7 of them, at 16 fps on average"),
        ("a.GIF", 30, "shown for 3 or 4 of them"),
        ("a.gif", 25, None),
        ("a.gif", 50, None),
        ("a.mp4", 16, None),
        ("folder", 16, None),
    ],
)
def test_what_a_gif_makes_of_a_rate(name: str, fps: float, note: str | None) -> None:
    notes = timing_notes(Path(name), fps)
    assert notes == [] if note is None else note in notes[0]
