"""`bench propagation` and `bench propagation-models` measure what they claim, on tiny random models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contract.families import VARIANTS
from tools.bench.__main__ import main
from tools.bench.propagation import calibrate, models, renders
from tools.bench.report.propagation import fidelity_tables, model_tables, promise_tables, together_tables


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "tiny"
    VARIANTS["wan-2.1"].build(folder)
    settings = {"frames": 9, "width": 64, "height": 64, "fps": 16, "steps": 4, "guidance_scale": 3.0}
    (folder / "defaults.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_rivals_promises_and_long_clips(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renders, "STEPS", 12)
    common = [str(tiny), "--device", "cpu", "--out", str(tmp_path)]
    assert main(["propagation", "fidelity", *common, "--prompts", "1"]) == 0
    assert main(["propagation", "promise", *common, "--renders", "1"]) == 0
    assert main(["propagation", "together", *common, "--frames", "9", "--side", "64", "--steps", "3"]) == 0
    parts = ("fidelity", "promise", "together")
    fidelity, promise, together = (
        json.loads((tmp_path / f"propagation-{part}-tiny.json").read_text()) for part in parts
    )
    assert "leaves nothing of 2 blocks" in fidelity["refused"]["blocks:1,1, max_error:0.1"]
    assert fidelity["rivals"]["plain"]["psnr_db"] == 99 and fidelity["rivals"]["plain, 25 steps"]["psnr_db"] < 99
    assert fidelity["rivals"]["magcache:0.12"]["psnr_db"] <= 99 and fidelity["rivals"]["taylorseer:3"]["psnr_db"] < 99
    assert 1 < fidelity["rivals"]["max_error:0.05"]["key_steps"] <= 12
    assert set(fidelity["rivals"]["plain"]["accuracy"]) == {"colour", "shape", "motion"}
    assert set(promise["promises"]) == {"0.01", "0.02", "0.05"} and set(together["rows"]) == {
        "propagation",
        "sparse attention",
        "both",
    }
    readers = ((fidelity_tables, fidelity), (promise_tables, promise), (together_tables, together))
    assert all(len(table.rows) >= 3 for reader, report in readers for table in reader(report))
    assert str(tmp_path) not in json.dumps([fidelity, promise, together])


def test_calibration_is_a_quantile_of_renders(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "BUDGETS", (0.9, 0.95, 0.99))
    monkeypatch.setattr(calibrate, "CALIBRATION", tmp_path / "calibration.json")
    assert main(["propagation", "calibrate", str(tiny), "--device", "cpu", "--renders", "1"]) == 0
    (found,) = json.loads((tmp_path / "calibration.json").read_text())["output"]["tiny"]
    assert found["factor"] >= found["median"] > 0 and found["renders"] == 3


def test_models_of_real_shapes_are_timed_when_shrunken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "STEPS", 3)
    names = ["AnimateDiff", "Wan 1.3B"]
    options = ["--tiny", "--rounds", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["propagation-models", *names, *options]) == 0
    result = json.loads((tmp_path / "propagation-models.json").read_text())
    (table,) = model_tables(result)
    assert set(result["models"]) == set(names) and len(table.rows) == 7
    assert all(kind["step_s"] > 0 for model in result["models"].values() for kind in model["kinds"].values())
