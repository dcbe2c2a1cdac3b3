"""An interrupted benchmark resumes from its rows, unless something else is measured; old keys are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.bench.environment import ROOT
from tools.bench.files import ResumableRows, read_report
from tools.bench.keys import with_present_keys


def test_rows_survive_and_a_partial_line_does_not(tmp_path: Path) -> None:
    report = tmp_path / "deep" / "report.json"
    first = ResumableRows(report, {"hash": "a", "steps": (1, 2)})
    first.add({"error": 0.5})
    first.add({"error": 0.25})
    path = report.with_suffix(".part.jsonl")
    path.write_text(path.read_text() + '{"err')
    again = ResumableRows(report, {"hash": "a", "steps": (1, 2)})
    assert again.rows == [{"error": 0.5}, {"error": 0.25}]
    again.add({"error": 0.125})
    assert len(ResumableRows(report, {"hash": "a", "steps": (1, 2)}).rows) == 3
    assert ResumableRows(report, {"hash": "b", "steps": (1, 2)}).rows == []


@pytest.mark.parametrize(
    ("name", "old", "present"),
    [
        pytest.param(
            "propagation-fidelity-a.json",
            {"rivals": {"fd": {"right": {"colour": 1.0}, "keys": 24.0}}},
            {"rivals": {"fd": {"accuracy": {"colour": 1.0}, "key_steps": 24.0}}},
            id="accuracy of propagation",
        ),
        pytest.param(
            "long-policies-a.json",
            {"policies": {"cono": {"right_colour": 1.0, "still": 0.1}}, "one clip": {"right": [1.0, 0.9]}},
            {"policies": {"cono": {"colour_accuracy": 1.0, "frozen": 0.1}}, "single_clip": {"accuracy": [1.0, 0.9]}},
            id="accuracy of long videos",
        ),
        pytest.param(
            "motion-control-a.json",
            {"px_of": 64, "ways": {"words alone": {"seen": 3}}},
            {"frame_px": 64, "methods": {"motion in the prompt": {"visible": 3}}},
            id="methods of motion control",
        ),
        pytest.param(
            "motion-noise.json",
            {"statistics": {"kept": {"0.2": {"std": 1.0}}}},
            {"statistics": {"degradation": {"0.2": {"std": 1.0}}}},
            id="degraded noise",
        ),
        pytest.param("render.json", {"right": 1}, {"right": 1}, id="only in the files that had the key"),
    ],
)
def test_reports_of_earlier_versions_are_read_under_the_present_keys(
    tmp_path: Path, name: str, old: dict[str, Any], present: dict[str, Any]
) -> None:
    (tmp_path / name).write_text(json.dumps(old), encoding="utf-8")
    assert read_report(tmp_path / name) == present


def test_the_stored_reports_have_the_present_keys() -> None:
    for path in (ROOT / "benchmarks").glob("*.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        assert with_present_keys(path.name, report) == report, path.name
