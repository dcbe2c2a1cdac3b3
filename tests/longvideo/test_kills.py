"""Real kills of real renders; `python -m tools.bench kills` does a hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench.long.kills import kill_and_resume
from videogen import Engine


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_render_resumes_to_the_same_frames(tmp_path: Path, kills: int) -> None:
    tally = kill_and_resume(Engine.load("embedded"), tmp_path, "replay:release=0.8", kills=kills, seed=1)
    assert tally.faults == [] and tally.kills == kills and tally.finished >= 1
    assert tally.resumed > 0, "some kills came after a segment was done"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["uninterrupted.mp4", *(f"clip-{n + 1}.mp4" for n in range(tally.finished))]
    )
