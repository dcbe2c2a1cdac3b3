"""The bench of motion control measures what it says, on the world's own clips and on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.families import VARIANTS
from tools import bench_motion_control as bench
from tools.world import Scene, Thing, render
from videogen import Engine


def test_errors_of_a_clip_that_moves_as_planned_are_small() -> None:
    clip = render(Scene((Thing("ball", "red", "moves right"),), "black", None, 3))
    begin, end = clip.tracks[0][0], clip.tracks[0][-1]
    right = bench.errors(clip.frames, begin, end)
    wrong = bench.errors(clip.frames, begin, begin)
    assert right is not None and wrong is not None
    assert right["place_px"] < 0.5 and right["move_px"] < 0.5 and right["end_px"] < 0.7
    assert wrong["end_px"] == pytest.approx(float(np.linalg.norm(end - begin)), abs=0.7)
    assert bench.errors(np.zeros((9, 64, 64, 3), np.uint8), begin, end) is None


def test_paths_are_drawn_inside_and_long_enough() -> None:
    drags = [bench.drag_of(index) for index in range(64)]
    lengths = [float(np.hypot(*np.subtract(*drag.path))) for drag in drags]
    assert min(lengths) >= 10 and max(lengths) <= 36 and len({drag.path for drag in drags}) == 64
    assert all(14 <= value <= 50 for drag in drags for point in drag.path for value in point)


@pytest.mark.parametrize("what", ["control", "camera"])
def test_a_report_has_rows_for_the_readme(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    VARIANTS["wan-2.1"].build(tmp_path / "tiny")
    settings = {
        "frames": 9,
        "width": 64,
        "height": 64,
        "fps": 16,
        "steps": 3,
        "guidance_scale": 1.0,
        "warped_noise": True,
    }
    (tmp_path / "tiny" / "defaults.json").write_text(json.dumps(settings), encoding="utf-8")
    heard: list[str | None] = []
    generate = Engine.generate

    def listened(self: Engine, *args: Any, **told: Any) -> Any:
        heard.append(told.get("motion_backend"))
        return generate(self, *args, **told)

    monkeypatch.setattr(Engine, "generate", listened)
    few = ["--prompts", "1", "--strengths", "0.9", "--out", str(tmp_path / "out")]
    assert bench.main([what, str(tmp_path / "tiny"), *few]) == 0
    report = json.loads((tmp_path / "out" / f"motion-{what}-tiny.json").read_text())
    assert report["command"].endswith("tiny --prompts 1 --strengths 0.9") and str(tmp_path) not in json.dumps(report)
    if what == "camera":
        assert heard == ["warped_noise", "dual_clock"] * len(bench.CAMERAS)
        assert len(report["rows"]) == 2 * (
            len(bench.CAMERAS) + 1
        )  # by warped noise and by dual clock, and a summary of each


def test_cameras_are_summed_up_move_by_move() -> None:
    row = {"clips": 4, "seen": 4, "floor": {}}
    cameras = {
        "pan right, by dual clock": {**row, "off": {"pan": 0.05}},
        "pan and zoom, by dual clock": {**row, "off": {"pan": 0.03, "zoom": 0.048}},
        "tilt up, by warped noise": {**row, "off": {}},
    }
    first, second = list(bench._camera_rows({"cameras": cameras}))[:2]
    assert first == (
        "2 cameras over textures, by dual clock, 8 clips",
        "off by (medians): pan right: 5 %; pan and zoom: pan 3 %, zoom 5 %",
    )
    assert second[1].endswith("tilt up: too plain to tell")
