"""The bench of noise that moves measures what it says, on tiny sizes, and keeps the parts of earlier runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import bench_motion, bench_motion_statistics
from tools.readme_table import figures_page

TINY_SPEED = ["--picture", "32", "48", "--frames", "5", "--channels", "2", "--repeats", "2", "--published-steps", "1"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_motion_statistics, "SLOW_PANS", ((0.8, 10),))
        assert bench_motion.main(["speed", "--out", str(folder), *TINY_SPEED]) == 0
        assert bench_motion.main(["statistics", "--out", str(folder), "--size", "96"]) == 0
    return folder


@pytest.fixture
def figures(written: Path) -> dict[str, Any]:
    return json.loads((written / "motion-noise.json").read_text(encoding="utf-8"))


def test_true_figures_are_good_and_controls_are_not(figures: dict[str, Any]) -> None:
    found = figures["statistics"]
    assert {name: row["faults"] for name, row in found["white"].items() if row["faults"]} == {}
    assert {"pan", "zoom in", "zoom out", "rotation", "shear", "wave", "random flow", "everything to one point"} <= set(
        found["white"]
    )
    assert all(row["faults"] and row["moran"] >= 0.2 for row in found["resampled"].values())
    assert all(found["exact"].values()) and len(found["exact"]) == 4
    assert found["bridge"]["sum_error"] < 1e-3 and found["bridge"]["variance"] == pytest.approx(1, abs=0.02)
    (pan,) = found["slow_pans"]
    assert pan["texture"] > 0.97 > pan["published"]
    assert all(row["texture"] > 0.9 and row["texture"] > row["bipartite"] for row in found["there_and_back"].values())
    assert all(row["measured"] == pytest.approx(row["formula"], abs=0.03) for row in found["kept"].values())
    assert all(0.85 < row["correlation"] / row["attainable"] < 1.15 for row in found["along_the_map"].values())


def test_both_methods_are_timed_in_turns(figures: dict[str, Any]) -> None:
    found = figures["speed"]
    assert found["frames"] == 5 and found["picture"] == [32, 48] and found["repeats"] == 2
    assert found["published"] == {"compat": True, "oversample": 4, "steps_timed": 1, "steps_in_all": 4}
    assert {"pan", "zoom in", "zoom out", "rotation", "published, pan", "published, zoom out"} <= set(found["seconds"])
    assert all(row["wall_s"] > 0 and row["cpu_s"] > 0 for row in found["seconds"].values())
    assert set(found["ratio_to_published"]) == {"pan", "zoom out"} and min(found["ratio_to_published"].values()) > 0


def test_the_page_of_figures_takes_its_rows(written: Path, figures: dict[str, Any]) -> None:
    lines = figures_page(written)
    assert figures["command"] == "python tools/bench_motion.py statistics speed" and lines.count(
        figures["command"]
    ) == len(figures["rows"])
    assert (
        "bilinear 0." in lines
        and "to 0.6 px a frame" in lines
        and "32" in lines
        and str(written) not in json.dumps(figures)
    )


def test_a_part_anew_keeps_the_other(tmp_path: Path, figures: dict[str, Any]) -> None:
    path = tmp_path / "motion-noise.json"
    path.write_text(json.dumps(figures), encoding="utf-8")
    faster = {**figures["speed"], "ratio_to_published": {"pan": 123.4}}
    bench_motion.note(path, "speed", faster)
    again = json.loads(path.read_text(encoding="utf-8"))
    assert again["statistics"] == figures["statistics"] and again["speed"] == faster
    assert any("pan 123x" in row[1] for row in again["rows"]) and len(again["rows"]) == len(figures["rows"])
