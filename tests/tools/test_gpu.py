"""`make gpu` skips finished jobs, resumes those cut short, stays within its time, and lists the wheels to carry."""

from __future__ import annotations

import json
import re
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import gpu
from tools.gpu import ALONE, Job

QUICK = ("first", "second", "alone")


def jobs(first: str = "open('{out}/ran','a').write('1')") -> tuple[Job, ...]:
    """Three jobs whose code has no blanks, since commands are split at blanks."""
    return (
        Job("first", "a", "", "{python} -c " + first, 0.5),
        Job("second", "a", "", "{python} -c open('{out}/ran','a').write('{first}')", 0.5, ("first",)),
        Job("alone", ALONE, "", "{python} -c open('{out}/ran','a').write('{minutes}')"),
    )


class Clock:
    """Time as `tools.gpu` sees it: it passes by `step_s` per turn of its loop, however fast the machine is."""

    def __init__(self) -> None:
        self.now_s, self.step_s = 0.0, 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, _: float) -> None:
        self.now_s += self.step_s
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still."""
    made = Clock()
    monkeypatch.setattr(gpu, "time", made)
    return made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "JOBS", jobs())
    monkeypatch.setattr(gpu, "MODULES", ())


def status(out: Path, name: str) -> dict:
    return json.loads((out / name / "job.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("quick")
def test_all_jobs_run_once_and_finished_ones_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--minutes", "1", "--out", str(tmp_path), "--device", "cpu"]
    assert gpu.main(arguments) == 0
    assert all(status(tmp_path, name)["done"] for name in QUICK)
    assert (tmp_path / "second" / "ran").read_text() == str(tmp_path / "first")
    assert gpu.main(arguments) == 0
    assert (tmp_path / "first" / "ran").read_text() == "1"
    assert "first: done" in capsys.readouterr().out


def test_a_failed_job_is_reported_retried_and_blocks_its_dependants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "MODULES", ())
    monkeypatch.setattr(gpu, "JOBS", jobs("raise(SystemExit(3))"))
    arguments = ["--minutes", "1", "--out", str(tmp_path), "--device", "cpu"]
    assert gpu.main(arguments) == 1
    assert status(tmp_path, "first")["exit_code"] == 3 and not (tmp_path / "second" / "ran").exists()
    assert status(tmp_path, "alone")["done"]
    monkeypatch.setattr(gpu, "JOBS", jobs())
    assert gpu.main(arguments) == 0 and status(tmp_path, "second")["done"]


def test_a_job_past_its_time_box_is_stopped_and_retains_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    clock.step_s = 1.0  # past the 0.6 s of the call below
    monkeypatch.setattr(gpu, "MODULES", ())
    monkeypatch.setattr(gpu, "GRACE_S", 0.0)
    monkeypatch.setattr(gpu, "JOBS", jobs("__import__('signal').pause()")[:1])
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "state.pt").write_bytes(b"state")
    arguments = ["--minutes", "0.01", "--total", "30", "--out", str(tmp_path), "--device", "cpu"]
    assert gpu.main(arguments) == 0
    cut = status(tmp_path, "first")
    assert (cut["done"], cut["exit_code"]) == (False, 124) and (cut["spent_s"], cut["minutes"]) == (1.0, 30.0)
    clock.step_s = 0.0
    monkeypatch.setattr(gpu, "JOBS", jobs()[:1])
    assert gpu.main(arguments) == 0
    again = status(tmp_path, "first")
    assert again["done"] and again["minutes"] == cut["minutes"]
    assert not (tmp_path / "first" / "state.pt").exists()


def test_missing_modules_are_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "MODULES", ("no_such_module",))
    assert gpu.main(["--minutes", "1", "--out", str(tmp_path)]) == 2
    assert "no_such_module" in capsys.readouterr().out and not any(tmp_path.iterdir())


def test_every_job_names_earlier_jobs_and_existing_tools() -> None:
    earlier: list[str] = []
    for job in gpu.JOBS:
        assert set(job.needs) <= set(earlier)
        (module,) = re.findall(r"-m (tools\.\w+) ", job.command)
        assert find_spec(module) is not None
        assert bool(job.weight) == ("{minutes}" in job.command)
        earlier.append(job.name)


def test_carried_wheels_cover_all_that_the_modules_need() -> None:
    def needed(names: list[str]) -> set[str]:
        found: set[str] = set()
        while names:
            name = names.pop().lower().replace("_", "-")
            if name not in found:
                found.add(name)
                required = [Requirement(text) for text in metadata.requires(name) or []]
                names += [r.name for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
        return found

    roots = ["pillow" if name == "PIL" else name for name in gpu.MODULES]
    assert needed(roots) - needed(["torch"]) <= set(gpu.WHEELS)
