"""The propagation benchmarks measure what they say, on tiny random models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contract.families import VARIANTS
from tools import bench_propagation, bench_propagation_models
from tools.readme_table import propagation_rows


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "tiny"
    VARIANTS["wan-2.1"].build(folder)
    settings = {"frames": 9, "width": 64, "height": 64, "fps": 16, "steps": 4, "guidance_scale": 3.0}
    (folder / "defaults.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_rivals_promises_and_long_clips(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_propagation, "STEPS", 12)
    common = [str(tiny), "--device", "cpu", "--out", str(tmp_path)]
    assert bench_propagation.main(["fidelity", *common, "--prompts", "1"]) == 0
    assert bench_propagation.main(["promise", *common, "--renders", "1"]) == 0
    assert bench_propagation.main(["together", *common, "--frames", "9", "--side", "64", "--steps", "3"]) == 0
    parts = ("fidelity", "promise", "together")
    fidelity, promise, together = (
        json.loads((tmp_path / f"propagation-{part}-tiny.json").read_text()) for part in parts
    )
    assert "leaves nothing of 2 blocks" in fidelity["refused"]["blocks:1,1, max_error:0.1"]
    assert fidelity["rivals"]["plain"]["psnr_db"] == 99 and fidelity["rivals"]["plain, 25 steps"]["psnr_db"] < 99
    assert fidelity["rivals"]["magcache:0.12"]["psnr_db"] <= 99 and fidelity["rivals"]["taylorseer:3"]["psnr_db"] < 99
    assert 1 < fidelity["rivals"]["max_error:0.05"]["keys"] <= 12
    assert set(fidelity["rivals"]["plain"]["right"]) == {"colour", "shape", "motion"}
    assert set(promise["promises"]) == {"0.01", "0.02", "0.05"} and set(together["rows"]) == {
        "propagation",
        "sparse attention",
        "both",
    }
    assert all(len(list(propagation_rows(data))) >= 3 for data in (fidelity, promise, together))
    assert str(tmp_path) not in json.dumps([fidelity, promise, together])


def test_calibration_is_a_quantile_of_renders(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_propagation, "BUDGETS", (0.9, 0.95, 0.99))
    monkeypatch.setattr(bench_propagation, "CALIBRATION", tmp_path / "calibration.json")
    assert bench_propagation.main(["calibrate", str(tiny), "--device", "cpu", "--renders", "1"]) == 0
    found = json.loads((tmp_path / "calibration.json").read_text())["output"]["tiny"]
    assert found["factor"] >= found["median"] > 0 and found["renders"] == 3


def test_models_of_real_shapes_are_timed_when_shrunken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_propagation_models, "STEPS", 3)
    names = ["AnimateDiff", "Wan 1.3B"]
    assert (
        bench_propagation_models.main([*names, "--tiny", "--rounds", "1", "--device", "cpu", "--out", str(tmp_path)])
        == 0
    )
    result = json.loads((tmp_path / "propagation-models.json").read_text())
    assert set(result["models"]) == set(names) and len(result["rows"]) == 7
    assert all(kind["step_s"] > 0 for model in result["models"].values() for kind in model["kinds"].values())
