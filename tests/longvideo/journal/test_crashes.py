"""Kills, failures and interruptions while a journal is written: finished segments stay, others leave no trace."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.longvideo.journal.crashing import SIDE, Steps
from tests.longvideo.journal.stored import REQUEST, check, fill, make_segment, same
from videogen import MediaError, ResumeError
from videogen.longvideo import Journal
from videogen.longvideo.journal import disk, lock

ROOT = Path(__file__).resolve().parents[3]


class Worker:
    """A process that writes journals in children: see `crashing`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.longvideo.journal.crashing"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, job: str, folder: Path, count: int = 0, step: int = -1, call: int = -1) -> int:
        """Start a child; returns its pid."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{job} {folder} {count} {step} {call}\n")
        self.process.stdin.flush()
        return int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, *arguments: Any, **options: Any) -> int:
        """Run a child to its end; returns its exit code."""
        self.begin(*arguments, **options)
        return int(self.line())


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    assert made.process.wait(60) == 0


def test_ten_kills_at_random_instants_lose_nothing_that_was_done(worker: Worker, tmp_path: Path) -> None:
    """An instant is a function call of the run: those of an uninterrupted run are counted first."""
    segments, rng, killed, stored_count = 12, random.Random(1), 0, 0
    worker.begin("count", tmp_path / "uninterrupted", segments)
    calls = int(worker.line())
    assert int(worker.line()) == 0 and calls > 1000
    for attempt in range(100):
        folder = tmp_path / f"job{attempt // 4}"
        killed += worker.run("fill", folder, segments, call=rng.randrange(calls)) == -signal.SIGKILL
        with Journal.open(folder, REQUEST) as journal:
            assert len(journal) >= (stored_count if attempt % 4 else 0) and journal.notes == []
            stored_count = len(journal)
            check(journal, stored_count, SIDE)
        if killed == 10:
            break
    assert killed == 10
    assert worker.run("fill", folder, segments) == 0
    files = [
        {p.name: p.read_bytes() for p in (job / "chunks").iterdir()} for job in (tmp_path / "uninterrupted", folder)
    ]
    assert files[0] == files[1] and len(files[0]) == 2 * segments


@pytest.mark.parametrize("job", ["fill", "replace"])
def test_a_kill_before_each_write_step(job: str, worker: Worker, tmp_path: Path) -> None:
    outcomes = set()
    for step in range(40):
        folder = tmp_path / f"job{step}"
        fill(folder, 2, SIDE)
        code = worker.run(job, folder, 3, step)
        with Journal.open(folder, REQUEST) as journal:
            assert journal.notes == [] and len(journal) in ((2, 3) if job == "fill" else (2,))
            assert same(journal.read(0), make_segment(0, SIDE))
            versions = [same(journal.read(1), make_segment(1, SIDE, version)) for version in (0, 1)]
            assert sum(versions) == 1 and versions[0] >= (job == "fill")
            assert len(journal) == 2 or same(journal.read(2), make_segment(2, SIDE))
            outcomes.add((code, len(journal), versions[1]))
            assert len(list((folder / "chunks").iterdir())) == 2 * len(journal)
        if code == 0:
            break
    done = (3, False) if job == "fill" else (2, True)
    assert outcomes == {(-9, 2, False), (-9, *done), (0, *done)} and step > 10


def test_a_kill_within_finish_leaves_a_complete_job_or_none(worker: Worker, tmp_path: Path) -> None:
    codes = []
    for step in range(9):
        fill(folder := tmp_path / "job", 2)
        codes.append(worker.run("finish", folder, 0, step))
        with Journal.open(folder, REQUEST) as journal:
            assert len(journal) in (0, 2)
            check(journal, len(journal))
        assert [entry.name for entry in tmp_path.iterdir()] == ["job"]
    assert codes[0] == -9 and codes[-1] == 0


def strikes() -> list[Any]:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def broken() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def interrupt() -> None:
        raise KeyboardInterrupt

    message = (
        r"storing segment 1 in .* failed: {} \(\d+ MiB free\); the 1 segments that were done are stored: make room"
    )
    return [
        pytest.param(full, MediaError, message.format("No space left on device"), id="disk full"),
        pytest.param(broken, MediaError, message.format("Input/output error"), id="disk fails"),
        pytest.param(interrupt, KeyboardInterrupt, "", id="Ctrl-C"),
    ]


@pytest.mark.parametrize(("strike", "error", "message"), strikes())
def test_a_failure_at_each_write_step_leaves_a_job_that_resumes(
    strike: Any, error: type[BaseException], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(40):
        folder = tmp_path / f"job{step}"
        fill(folder, 1)
        journal = Journal.open(folder, REQUEST)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "os", steps := Steps(strike, step))
            if not _fails(journal, error, message):
                break
        assert steps.count > step and len(journal) == 1 and not list(folder.rglob("*.partial"))
        if step % 2:  # either the same process continues, or a later one
            journal.append(make_segment(1))
        journal.close()
        fill(folder, 3)
        with Journal.open(folder, REQUEST) as again:
            check(again, 3)
            assert again.notes == [] and len(list((folder / "chunks").iterdir())) == 6
    assert step > 10
    journal.close()


def _fails(journal: Journal, error: type[BaseException], message: str) -> bool:
    """Whether appending the next segment fails with this message."""
    try:
        journal.append(make_segment(1))
    except error as found:
        import re

        assert re.search(message, str(found)), found
        return True
    return False


def test_a_disk_that_takes_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(disk, "os", steps := Steps(lambda: None, -1))
    steps.write = lambda descriptor, data: write(descriptor, data[:777])
    fill(tmp_path / "job", 2)
    monkeypatch.undo()
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        assert len(journal) == 2 and journal.notes == []
        check(journal, 2)


def test_the_second_of_two_processes_is_refused_and_a_killed_one_is_not_in_the_way(
    worker: Worker, tmp_path: Path
) -> None:
    fill(tmp_path / "job", 2)
    pid = worker.begin("hold", tmp_path / "job")
    assert worker.line() == "held"
    with pytest.raises(
        ResumeError, match=rf"job is being written by process {pid} on .* since .*; wait until it ends, or end it"
    ):
        Journal.open(tmp_path / "job", REQUEST)
    os.kill(pid, signal.SIGKILL)
    assert worker.line() == str(-signal.SIGKILL)
    assert str(pid) in (tmp_path / "job" / "lock").read_text()  # the stale note stays, and decides nothing
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        check(journal, 2)


def test_within_a_process_too_and_closing_releases_the_lock(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        (tmp_path / "job" / "lock").write_text("no JSON")
        with pytest.raises(ResumeError, match="job is being written by another process; wait"):
            Journal.open(tmp_path / "job", REQUEST)
        journal.append(make_segment(0))
    fill(tmp_path / "job", 2)


def test_a_lock_whose_file_was_removed_meanwhile_is_locked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = lock._lock
    taken: list[int] = []

    def late(descriptor: int) -> None:
        if not taken:
            (tmp_path / "lock").unlink()  # the first holder finishes between our open and our lock
        taken.append(descriptor)
        take(descriptor)

    monkeypatch.setattr(lock, "_lock", late)
    held = lock.FileLock(tmp_path / "lock")
    assert len(taken) == 2 and (tmp_path / "lock").exists()
    with pytest.raises(ResumeError, match=f"process {os.getpid()} on"):
        lock.FileLock(tmp_path / "lock")
    held.release()
    held.release()
    lock.FileLock(tmp_path / "lock").release()
