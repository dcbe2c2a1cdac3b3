"""A manifest that is known only when the last frame is written, and a writer whose memory does not grow with the
clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from videogen import InputError, MediaError, Video
from videogen.media.metadata import read_manifest, retag
from videogen.media.probe import probe
from videogen.media.writer import VideoWriter

from .test_round_trips import MANIFEST, clip

KINDS = pytest.mark.parametrize(
    "suffix", [".mp4", ".mkv", ".webm", ".gif", ""], ids=["mp4", "mkv", "webm", "gif", "folder"]
)
CODECS = pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
LATE: dict[str, Any] = {**MANIFEST, "measured": {"seams": [0.25, 1.5], "note": "ünï " * 40}}


def write(path: Path, frames: np.ndarray, fps: Fraction | float, early: Any, late: Any = None, at: int = -1) -> Path:
    """Write a clip frame by frame; the late manifest is set before frame `at`, or after the last."""
    with VideoWriter(path, fps=fps, size=(frames.shape[2], frames.shape[1]), manifest=early) as writer:
        for index, frame in enumerate(frames):
            if index == at:
                writer.manifest = late
            writer.write(frame[None])
        if at < 0:
            writer.manifest = late
    return path


def packets(path: Path) -> list[tuple[Any, ...]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (p.pts, p.dts, p.duration, p.time_base, p.is_keyframe, bytes(p)) for p in container.demux(stream) if p.size
        ]


@KINDS
@pytest.mark.parametrize("early", [None, MANIFEST], ids=["none before", "another before"])
@pytest.mark.parametrize(("count", "fps"), [(1, 8), (9, 16), (130, Fraction(30000, 1001))])
def test_a_late_manifest_equals_an_early_one(
    tmp_path: Path, suffix: str, early: Any, count: int, fps: Fraction
) -> None:
    frames = clip(count)
    expected = Video.open(write(tmp_path / f"early{suffix}", frames, fps, LATE, LATE))
    video = Video.open(write(tmp_path / f"late{suffix}", frames, fps, early, LATE))
    assert video.manifest == LATE == expected.manifest and video.fps == expected.fps
    assert np.array_equal(video.frames, expected.frames) and len(video) == count
    assert (video.times_s is None) == (expected.times_s is None)
    if video.times_s is not None and expected.times_s is not None:
        assert np.array_equal(video.times_s, expected.times_s)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"early{suffix}", f"late{suffix}"]


@CODECS
@pytest.mark.parametrize("size", [(48, 32), (47, 31)], ids=["even", "odd"])
def test_packets_header_and_colours_are_copied_unchanged(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    frames = clip(130, *size)
    early = write(tmp_path / f"early{suffix}", frames, 24, LATE, LATE)
    late = write(tmp_path / f"late{suffix}", frames, 24, None, LATE)
    assert packets(early) == packets(late) and probe(early) == probe(late)
    tags = []
    for path in (early, late):
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            tags.append(
                (context.colorspace, context.color_primaries, context.color_trc, context.color_range, context.extradata)
            )
    assert tags[0] == tags[1] and tags[0][:4] == (1, 1, 1, 1)
    if suffix == ".mp4":
        data = late.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat"), "the index comes first, so that players can start at once"


@KINDS
def test_a_removed_manifest_is_not_written(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", clip(70), 8, MANIFEST, None)
    assert read_manifest(path) is None and len(Video.open(path)) == 70


@KINDS
def test_a_manifest_changed_in_place_is_written(tmp_path: Path, suffix: str) -> None:
    manifest: dict[str, Any] = {"measured": {}}
    with VideoWriter(tmp_path / f"a{suffix}", fps=8, size=(48, 32), manifest=manifest) as writer:
        writer.write(clip(70))
        manifest["measured"]["error"] = 0.01
    assert read_manifest(tmp_path / f"a{suffix}") == {"measured": {"error": 0.01}}


@CODECS
@pytest.mark.parametrize(("at", "copies"), [(0, 0), (100, 1)], ids=["before the header", "after it"])
def test_a_copy_is_made_only_if_the_header_is_outdated(
    tmp_path: Path, suffix: str, at: int, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Path] = []

    def counted(path: Path, text: str | None, fps: Fraction) -> None:
        copied.append(path)
        retag(path, text, fps)

    monkeypatch.setattr("videogen.media.writer.retag", counted)
    path = write(tmp_path / f"a{suffix}", clip(130), 8, MANIFEST, LATE, at)
    assert len(copied) == copies and read_manifest(path) == LATE


@KINDS
def test_an_error_after_setting_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / f"a{suffix}", fps=8, size=(48, 32)) as writer:
        writer.write(clip(70))
        writer.manifest = LATE
        raise RuntimeError
    with (
        pytest.raises(InputError, match="no frame"),
        VideoWriter(tmp_path / f"a{suffix}", fps=8, size=(48, 32)) as writer,
    ):
        writer.manifest = LATE
    assert not list(tmp_path.iterdir())


@KINDS
def test_a_manifest_that_is_not_json_leaves_no_file(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(TypeError, match="JSON"), VideoWriter(tmp_path / f"a{suffix}", fps=8, size=(48, 32)) as writer:
        writer.write(clip(70))
        writer.manifest = {"measured": object()}
    assert not list(tmp_path.iterdir())


@CODECS
def test_a_disk_that_fills_while_copying_is_a_media_error_and_the_old_file_stays(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / f"a{suffix}", clip(3), 8, MANIFEST, MANIFEST)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("videogen.media.metadata.os.replace", full)
    with (
        pytest.raises(MediaError, match="No space left"),
        VideoWriter(path, fps=8, size=(48, 32), overwrite=True) as writer,
    ):
        writer.write(clip(70))
        writer.manifest = LATE
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


@KINDS
def test_frames_are_not_retained(tmp_path: Path, suffix: str) -> None:
    """The sinks store a few images for any length of the clip: none of them has a list of frames."""
    with VideoWriter(tmp_path / f"a{suffix}", fps=8, size=(48, 32)) as writer:
        for _ in range(3):
            writer.write(clip(30))
        assert not [
            name
            for name, value in vars(writer._sink).items()
            if isinstance(value, list | dict | tuple) and len(value) > 2
        ]


def test_a_gif_frame_has_its_own_palette(tmp_path: Path) -> None:
    """Only changed regions are stored, yet each frame is read back as quantized: moving, repeated, changed in a
    corner."""
    from PIL import Image, ImageSequence

    frames = np.concatenate([clip(4), clip(4)[-1:].repeat(2, 0), clip(4)[-1:]])
    frames[-1, -3:, -5:] = (255, 0, 0)
    path = write(tmp_path / "a.gif", frames, 10, None, LATE)
    expected = np.stack([np.asarray(Image.fromarray(f).quantize(256).convert("RGB")) for f in frames])
    with Image.open(path) as image:
        read_back = [(f.info["duration"], np.asarray(f.convert("RGB"))) for f in ImageSequence.Iterator(image)]
        assert image.info["loop"] == 0
    assert [ms for ms, _ in read_back] == [100] * 7 and np.array_equal(np.stack([f for _, f in read_back]), expected)
    assert np.array_equal(Video.open(path).frames, expected)
