"""`bench motion` measures what it claims, on the world's own clips and on a tiny random model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.families import VARIANTS
from tools.bench.__main__ import main
from tools.bench.motion.camera import CAMERAS
from tools.bench.motion.control import drag_of, errors
from tools.bench.report.motion import camera_tables, composed_tables, control_tables
from tools.world import Scene, Thing, render
from videogen import Engine


def test_errors_of_a_clip_that_moves_as_planned_are_small() -> None:
    clip = render(Scene((Thing("ball", "red", "moves right"),), "black", None, 3))
    begin, end = clip.tracks[0][0], clip.tracks[0][-1]
    right = errors(clip.frames, begin, end)
    wrong = errors(clip.frames, begin, begin)
    assert right is not None and wrong is not None
    assert right["place_px"] < 0.5 and right["move_px"] < 0.5 and right["end_px"] < 0.7
    assert wrong["end_px"] == pytest.approx(float(np.linalg.norm(end - begin)), abs=0.7)
    assert errors(np.zeros((9, 64, 64, 3), np.uint8), begin, end) is None


def test_paths_are_drawn_inside_and_long_enough() -> None:
    drags = [drag_of(index) for index in range(64)]
    lengths = [math.dist(drag.path[0], drag.path[-1]) for drag in drags]
    assert min(lengths) >= 10 and max(lengths) <= 36 and len({drag.path for drag in drags}) == 64
    assert all(14 <= value <= 50 for drag in drags for point in drag.path for value in point)


@pytest.mark.parametrize("what", ["control", "camera"])
def test_a_report_becomes_tables(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    backends: list[str | None] = []
    generate = Engine.generate

    def spy(self: Engine, *args: Any, **options: Any) -> Any:
        backends.append(options.get("motion_backend"))
        return generate(self, *args, **options)

    monkeypatch.setattr(Engine, "generate", spy)
    few = ["--prompts", "1", "--strengths", "0.9", "--out", str(tmp_path / "out")]
    assert main(["motion", what, str(tmp_path / "tiny"), *few]) == 0
    report = json.loads((tmp_path / "out" / f"motion-{what}-tiny.json").read_text())
    assert report["command"].endswith("tiny --prompts 1 --strengths 0.9") and str(tmp_path) not in json.dumps(report)
    if what == "camera":
        assert backends == ["warped_noise", "dual_clock"] * len(CAMERAS)
        (table,) = camera_tables(report)
        assert len(table.rows) == 2 * len(CAMERAS)  # by warped noise and by dual clock
    else:
        (table,) = control_tables(report)
        assert [row[0] for row in table.rows] == ["no control", "motion in the prompt", "warped noise", "dual clock"]


def test_drags_under_a_camera_become_one_row() -> None:
    report = {
        "model": "embedded",
        "frame_px": 64,
        "clips": 16,
        "visible": 15,
        "medians": {"place_px": 0.3, "overlap": 0.9},
    }
    (table,) = composed_tables(report)
    assert table.rows == [["15 of 16", "0.30", "–", "0.90"]]


def test_cameras_become_a_row_each() -> None:
    row = {"clips": 4, "measurable": 4, "vae_error": {}}
    target = {"pan": 8.0, "zoom": 1.2}
    cameras = {
        "pan right, by dual clock": {**row, "target": {"pan": 12.0}, "relative_error": {"pan": 0.05}},
        "pan and zoom, by dual clock": {
            **row, "target": target, "relative_error": {"pan": 0.03, "zoom": 0.048}, "vae_error": {"pan": 0.01},
        },
        "tilt up, by warped noise": {**row, "target": {"tilt": 12.0}, "relative_error": {}},
    }  # fmt: skip
    (table,) = camera_tables({"model": "embedded", "cameras": cameras})
    assert table.columns[3:] == ("pan error", "tilt error", "zoom error")
    assert table.rows == [
        ["pan right", "dual clock", "4 of 4", "5 %", "–", "–"],
        ["pan and zoom", "dual clock", "4 of 4", "3 % (VAE alone 1 %)", "–", "5 %"],
        ["tilt up", "warped noise", "4 of 4", "–", "not measurable", "–"],
    ]
