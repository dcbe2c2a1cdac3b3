"""Results that cannot be written as requested: a finished clip is kept, files next to it never cost it."""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from videogen import Video
from videogen.cli import render
from videogen.cli.progress import Bar
from videogen.core.errors import MediaError
from videogen.core.files import atomic_path
from videogen.media.writer import VideoWriter
from videogen.sampling.progress import Progress

SMALL = ("--frames", "5", "--size", "32x32", "--steps", "2")
LONG = ("--frames", "33", "--window", "9", "--size", "32x32", "--steps", "1", "--continuity", "replay")


def when_denoising(monkeypatch: pytest.MonkeyPatch, action: Callable[[], Any]) -> None:
    """Run `action` once, after the checks before the render and before its end."""
    actions = [action]

    def watch(self: Bar, progress: Progress) -> None:
        if progress.stage == "denoise" and actions:
            actions.pop()()

    monkeypatch.setattr(Bar, "__call__", watch)


@pytest.mark.parametrize("form", [SMALL, LONG], ids=["a clip", "a long video"])
def test_a_name_that_is_taken_meanwhile(run: Run, tiny: Path, form: tuple[str, ...], monkeypatch: Any) -> None:
    """As by an equal command in another terminal."""
    when_denoising(monkeypatch, lambda: Path("a.mp4").write_text("theirs"))
    outcome = run("render", "a red ball", "--model", tiny, *form, "-o", "a.mp4", "--report", "a.html")
    result = Path("a-2.mp4").absolute()
    assert outcome.code == 1 and outcome.out == f"{result}\n" and Video.open(result).manifest
    assert f"created by another process in the meantime and is left alone; the result is {result}" in outcome.err
    assert Path("a.mp4").read_text() == "theirs" and Path("a.html").exists()


@pytest.mark.parametrize("form", [SMALL, LONG], ids=["a clip", "a long video"])
def test_a_file_that_cannot_be_replaced(run: Run, tiny: Path, form: tuple[str, ...], monkeypatch: Any) -> None:
    """As another user's in a folder with the sticky bit."""
    Path("a.mp4").write_text("theirs")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("videogen.core.files._replace", refuse)
    outcome = run("render", "a red ball", "--model", tiny, *form, "-o", "a.mp4", "--overwrite", "--json")
    result = json.loads(outcome.out)
    assert outcome.code == 1 and result["path"].endswith("a-2.mp4") and "cannot be replaced" in result["problem"]
    assert Path("a.mp4").read_text() == "theirs" and Video.open("a-2.mp4").manifest


def test_a_regenerated_segment_is_saved_elsewhere_as_well(run: Run, tiny: Path, monkeypatch: Any) -> None:
    """Where the video itself cannot be replaced; the notes are about seams alone."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    assert run("render", "a red ball", "--model", tiny, *LONG, "-o", "a.mp4", "--keep-job").code == 0
    before = Path("a.mp4").read_bytes()
    monkeypatch.setattr("videogen.core.files._replace", refuse)
    outcome = run("story", "redo", "1", "a.mp4")
    assert (
        outcome.code == 1 and outcome.out == f"{Path('a-2.mp4').absolute()}\n" and Path("a.mp4").read_bytes() == before
    )
    assert outcome.err.count("cannot be replaced") == 1 and "note: " + str(Path("a.mp4").absolute()) not in outcome.err


def test_a_folder_that_cannot_be_written_any_more(run: Run, tiny: Path, tmp_path: Path, monkeypatch: Any) -> None:
    enter = VideoWriter.__enter__

    def refuse(self: VideoWriter) -> VideoWriter:
        if self.path == tmp_path / "a.mp4":
            raise MediaError(f"writing {self.path} failed: no space left on device")
        return enter(self)

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(VideoWriter, "__enter__", refuse)
    outcome = run("render", "a red ball", "--model", tiny, *SMALL, "-o", "a.mp4")
    result = Path(outcome.out.strip())
    assert outcome.code == 1 and result.parent.parent == tmp_path / "temporary" and Video.open(result).manifest
    assert "no space left" in outcome.err and str(result) in outcome.err
    monkeypatch.setattr(
        VideoWriter, "__enter__", lambda self: refuse(VideoWriter(tmp_path / "a.mp4", fps=1, size=(2, 2)))
    )
    assert run("render", "a red ball", "--model", tiny, *SMALL, "-o", "b.mp4").code == 2
    assert len(list((tmp_path / "temporary").iterdir())) == 1


@pytest.mark.parametrize(
    ("flag", "name", "writes"),
    [
        pytest.param("--preview", "p.png", "videogen.cli.progress._save_preview", id="preview"),
        pytest.param("--report", "r.html", "videogen.cli.render._write_report", id="report"),
        pytest.param("--motion-preview", "m.mp4", "videogen.cli.render.write_preview", id="motion preview"),
    ],
)
def test_a_full_disk_for_a_side_file_costs_neither_clip_nor_exit_code(
    run: Run, tiny: Path, flag: str, name: str, writes: str, monkeypatch: Any
) -> None:
    def full(*arguments: object, **_: object) -> None:
        with atomic_path(name, overwrite=True):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writes, full)
    moves = ("--camera", "pan=2", "--motion-backend", "warped_noise") if flag == "--motion-preview" else ()
    outcome = run("render", "a red ball", "--model", tiny, *SMALL, "-o", "a.mp4", flag, name, *moves)
    assert outcome.code == 0 and Video.open("a.mp4").manifest
    assert outcome.err.count("No space left on device") == 1 and name in outcome.err


def test_a_full_disk_is_reported_with_the_file(run: Run, monkeypatch: Any) -> None:
    def full(*_: object) -> int:
        with atomic_path("out.bin"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(render, "run", full)
    outcome = run("render", "a red ball")
    assert outcome.code == 1 and f"the disk is full ({Path('out.bin').absolute()})" in outcome.err
