"""`bench noise` measures what it claims, on tiny sizes, and retains the parts of earlier runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.bench.__main__ import main
from tools.bench.noise import statistics
from tools.bench.noise.command import update_report
from tools.bench.report.noise import noise_tables
from tools.bench.report.page import figures_page

TINY_SPEED = ["--size-px", "32", "48", "--frames", "5", "--channels", "2", "--repeats", "2", "--published-steps", "1"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "SLOW_PANS", ((0.8, 10),))
        assert main(["noise", "speed", "--out", str(folder), *TINY_SPEED]) == 0
        assert main(["noise", "statistics", "--out", str(folder), "--size", "96"]) == 0
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
    assert all(row["measured"] == pytest.approx(row["formula"], abs=0.03) for row in found["degradation"].values())
    assert all(0.85 < row["correlation"] / row["attainable"] < 1.15 for row in found["along_the_map"].values())


def test_both_methods_are_timed_in_turns(figures: dict[str, Any]) -> None:
    found = figures["speed"]
    assert found["frames"] == 5 and found["size_px"] == [32, 48] and found["repeats"] == 2
    assert found["published"] == {"compat": True, "oversample": 4, "steps_timed": 1, "steps_total": 4}
    assert {"pan", "zoom in", "zoom out", "rotation", "published, pan", "published, zoom out"} <= set(found["seconds"])
    assert all(row["wall_s"] > 0 and row["cpu_s"] > 0 for row in found["seconds"].values())
    assert set(found["ratio_to_published"]) == {"pan", "zoom out"} and min(found["ratio_to_published"].values()) > 0


def test_the_figures_page_has_its_tables(written: Path, figures: dict[str, Any]) -> None:
    page = figures_page(written)
    assert figures["command"] == "python -m tools.bench noise statistics speed" and page.count(figures["command"]) == 1
    assert all(text in page for text in ("| bilinear | 0.", "Pans of 0.8 to 0.8 px per frame", "5 frames of 48x32"))
    assert str(written) not in json.dumps(figures)


def test_measuring_one_part_again_retains_the_other(tmp_path: Path, figures: dict[str, Any]) -> None:
    path = tmp_path / "motion-noise.json"
    path.write_text(json.dumps(figures), encoding="utf-8")
    faster = {**figures["speed"], "ratio_to_published": {"pan": 123.4}}
    update_report(path, "speed", faster, "cpu")
    again = json.loads(path.read_text(encoding="utf-8"))
    assert again["statistics"] == figures["statistics"] and again["speed"] == faster
    *others, speed = noise_tables(again)
    assert ["pan", "123x"] in [[row[0], row[-1]] for row in speed.rows] and len(others) == 6
