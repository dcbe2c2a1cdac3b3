"""decord, the optional fast reader: the frames of PyAV, or a refusal that says why.

A stand-in for the optional module suffices to test that contract.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from videogen import InputError, MediaError, Video
from videogen.media.reader import read_video

from .test_foreign_videos import remux, write
from .test_round_trips import MANIFEST, clip


def stand_in(monkeypatch: pytest.MonkeyPatch, frames: np.ndarray) -> None:
    """Make `import decord` give a module whose reader returns these frames."""

    class Batch:
        def __init__(self, chosen: np.ndarray) -> None:
            self._chosen = chosen

        def asnumpy(self) -> np.ndarray:
            return self._chosen

    class Reader:
        def __init__(self, name: str, ctx: object) -> None:
            pass

        def __len__(self) -> int:
            return len(frames)

        def get_batch(self, chosen: list[int]) -> Batch:
            return Batch(frames[chosen])

    module = types.ModuleType("decord")
    vars(module).update(VideoReader=Reader, cpu=lambda index: index, DECORDError=RuntimeError)
    monkeypatch.setitem(sys.modules, "decord", module)


PARTS = [{}, {"start": 2, "frames": 4}, {"start": 3, "seconds": 0.2}]


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_the_same_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: dict[str, int]) -> None:
    path = Video(clip(9), 10, MANIFEST).save(tmp_path / "a.mp4")
    expected = read_video(path, **part)  # type: ignore[arg-type]
    stand_in(monkeypatch, read_video(path).frames)
    video = read_video(path, backend="decord", **part)  # type: ignore[arg-type]
    assert video == expected and video.manifest == MANIFEST
    with pytest.raises(MediaError, match="no frame from 9 on"):
        read_video(path, start=9, backend="decord")


def test_files_that_it_would_read_differently_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", clip(30))
    files = {
        "mpegts": (remux(path, tmp_path / "a.ts"), "h264, yuv420p"),
        "edit list": (remux(path, tmp_path / "b.mp4", -5, {"avoid_negative_ts": "disabled"}), "edit list"),
        "10 bit": (write(tmp_path / "c.mkv", clip(9), pix_fmt="yuv420p10le"), "yuv420p10le"),
        "interlaced": (write(tmp_path / "d.mkv", clip(9), options={"x264-params": "tff=1"}), "interlaced"),
    }
    for name, (file, reason) in files.items():
        stand_in(monkeypatch, read_video(file).frames)
        with pytest.raises(InputError, match=f"differently \\(.*{reason}.*use backend='pyav'"):
            read_video(file, backend="decord")
        assert len(read_video(file)), name
    stand_in(monkeypatch, read_video(path).frames[1:])
    with pytest.raises(InputError, match="29 frames instead of 30"):
        read_video(path, backend="decord")
    stand_in(monkeypatch, 255 - read_video(path).frames)
    with pytest.raises(InputError, match="other pixels"):
        read_video(path, backend="decord")


def test_a_missing_decord_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(InputError, match="decord' is not installed"):
        read_video(Video(clip(3)).save(tmp_path / "a.mp4"), backend="decord")
