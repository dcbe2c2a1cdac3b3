"""Errors of use with long videos: each is refused with what is wrong and what to do, and leaves no files behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from videogen.longvideo.journal.lock import FileLock

STORIES = {
    "overlap": "[0-4] a red ball\n[3-6] a blue ball",
    "gap": "[0-4] a red ball\n[5-6] a blue ball",
    "nothing": "[0-4] a red ball\n[4-4] a blue ball",
    "good": "[0-4] a red ball\n[4-6] a blue ball",
    "open": "[0-4] a red ball\n[4-] a blue ball",
}
SMALL = ("--model", "{tiny}", "--size", "32x32", "--steps", "1")
MISTAKES = [
    ("times that overlap", ("--story", "overlap.txt"), "shots 1 and 2 overlap"),
    ("times with a gap", ("--story", "gap.txt"), "gap before shot 2"),
    ("a shot of no length", ("--story", "nothing.txt"), "shot 2 has no duration"),
    ("a story that is not there", ("--story", "nowhere.txt"), "cannot read the story 'nowhere.txt'"),
    ("a prompt and a story", ("x", "--story", "good.txt"), "given together with a story"),
    ("a prompt and a story in one configuration", ("--config", "both.toml"), "given together with a story"),
    ("a story without an end", ("--story", "open.txt", *SMALL), "give seconds or frames"),
    ("a story of one clip", ("--story", "good.txt", "--continuity", "off"), "cannot show"),
    ("an unknown policy", ("x", "--continuity", "repaly"), "did you mean 'replay'"),
    ("an unknown setting of a policy", ("x", "--continuity", "replay:overlp=3"), "did you mean 'overlap'"),
    ("retries below zero", ("x", "--retries=-1"), "retries=-1 must be 0 or more"),
    ("frames and seconds", ("x", "--frames", "70", "--seconds", "4"), "give one of them"),
    ("seconds of nothing", ("x", "--seconds", "0"), "seconds=0.0 must be above 0"),
    ("resume without a job", ("--resume", "clip.mp4"), "clip.mp4.job is not there"),
    ("the job of a single clip", ("x", *SMALL, "--frames", "5", "--keep-job"), "this is a single clip"),
    ("a preview of many clips", ("x", *SMALL, "--frames", "33", "--window", "9", "--preview", "p.png"), "leave it out"),
]  # fmt: skip


@pytest.fixture
def surroundings(tmp_path: Path) -> set[Path]:
    for name, text in STORIES.items():
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "both.toml").write_text('prompt = "x"\nstory = "good.txt"\n')
    return set(tmp_path.rglob("*"))


@pytest.mark.parametrize(("arguments", "message"), [pytest.param(a, m, id=name) for name, a, m in MISTAKES])
def test_errors(
    run: Run, tiny: Path, tmp_path: Path, surroundings: set[Path], arguments: tuple[str, ...], message: str
) -> None:
    outcome = run("render", *(a.format(tiny=tiny) for a in arguments))
    assert outcome.code == 2, outcome.err
    assert message in outcome.err and "Traceback" not in outcome.err and outcome.out == ""
    assert not {p for p in set(tmp_path.rglob("*")) - surroundings if p.is_file() and "cache" not in p.parts}


def test_a_second_process_on_a_job_is_refused(run: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4.job").mkdir()
    lock = FileLock(tmp_path / "clip.mp4.job" / "lock")
    small = [word.format(tiny=tiny) for word in SMALL]
    outcome = run("render", "a red ball", *small, "--frames", "33", "--window", "9", "-o", "clip.mp4")
    lock.release()
    assert outcome.code == 2 and "is being written by process" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("show", "nowhere.txt"), "cannot read the story", id="a story that is not there"),
        pytest.param(("show", "nowhere.mp4"), "nowhere.mp4.job is not there", id="a video that is not there"),
        pytest.param(("show", "plain.mp4"), "no videogen manifest", id="a video of another program"),
        pytest.param(("redo", "1", "plain.mp4"), "plain.mp4.job is not there", id="a video without a job"),
        pytest.param(("redo", "one", "plain.mp4"), "segment=one is not a whole number", id="not a number"),
    ],
)
def test_errors_of_stories(run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    import numpy as np

    from videogen import Video

    Video(np.full((2, 16, 16, 3), 99, np.uint8)).save(tmp_path / "plain.mp4")
    outcome = run("story", *arguments)
    assert outcome.code == 2 and message in outcome.err and outcome.out == ""
