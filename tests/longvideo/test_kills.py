"""Ten real kills of real renders; `python -m tools.bench kills` does a hundred."""

from __future__ import annotations

from pathlib import Path

from tools.bench.long.kills import kill_and_resume
from videogen import Engine


def test_ten_kills_and_the_same_frames(tmp_path: Path) -> None:
    tally = kill_and_resume(Engine.load("embedded"), tmp_path, "replay:release=0.8", kills=10, seed=1)
    assert tally.faults == [] and tally.kills == 10 and tally.finished >= 1
    assert tally.resumed > 0, "some kills came after a segment was done"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["uninterrupted.mp4", *(f"clip-{n + 1}.mp4" for n in range(tally.finished))]
    )
