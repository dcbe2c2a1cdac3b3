"""Checkpoints of hosted classes: outlines, loading, missing weights, packages and code of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny.table import TinyCall, load_rows
from videogen.backbones.hosting import library_version
from videogen.backbones.registry import load_outline
from videogen.cli.main import main
from videogen.core.errors import CheckpointError, InputError, UnsupportedError, VideogenError
from videogen.engine.engine import Engine

from .cases import request_options

ROWS = load_rows()
NAMES = [
    "LTXPipeline",
    "CogVideoXPipeline",
    pytest.param("LTX2Pipeline", marks=pytest.mark.slow),
    pytest.param("WanImageToVideoPipeline", marks=pytest.mark.slow),
]


def saved(name: str, folder: Path) -> Path:
    ROWS[name].build().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_gives_the_frames_of_the_pipeline_in_memory(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    frames, width, height = row.sizes[0]
    options = request_options(row, TinyCall(frames, width, height))
    loaded = Engine.load(saved(name, tmp_path)).generate("a red ball", noise="diffusers", **options)
    wrapped = Engine.from_pipeline(row.build()).generate("a red ball", noise="diffusers", **options)
    assert np.array_equal(loaded.frames, wrapped.frames)


@pytest.mark.parametrize("name", NAMES)
def test_an_outline_has_the_facts_of_the_loaded_model(name: str, tmp_path: Path) -> None:
    outline, model = load_outline(str(saved(name, tmp_path))), Engine.load(tmp_path).backbone
    assert outline is not None
    for fact in ("defaults", "geometry", "limits", "accepts", "needs"):
        assert getattr(outline, fact) == getattr(model, fact)


@pytest.mark.parametrize(("installed", "has"), [("0.41.0", False), ("0.42.1", True), ("1.0.0.dev0", True)])
def test_classes_of_a_later_diffusers_name_it(
    installed: str, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_version, "version", lambda _: installed)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "SanaWMPipeline"}), encoding="utf-8")
    with pytest.raises(VideogenError) as refused:
        Engine.load(tmp_path)
    assert (f"has since 0.42; {installed} is installed: pip install" in str(refused.value)) is not has


def test_missing_weights_of_the_librarys_own_components_are_named(tmp_path: Path) -> None:
    folder = saved("LTX2Pipeline", tmp_path)
    (weights,) = (folder / "connectors").glob("*.safetensors")
    weights.unlink()
    with pytest.raises(CheckpointError, match="connectors"):
        Engine.load(folder)


def test_a_model_without_the_image_that_it_needs_is_refused_before_its_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved("WanImageToVideoPipeline", tmp_path / "model")
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    assert main(["render", "a red ball", "--model", str(folder), "-o", str(tmp_path / "a.mp4")]) == InputError.exit_code
    assert "needs image; give it with --image FILE" in capsys.readouterr().err


def index(folder: Path, class_name: Any) -> Path:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": class_name}))
    return folder


def test_packages_that_a_pipeline_needs_are_named_before_loading(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"needs the model's safety checker.*install cosmos_guardrail"):
        load_outline(str(index(tmp_path, "CosmosTextToWorldPipeline")))


def test_code_that_a_checkpoint_brings_is_never_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="code of its own, which is never run"):
        load_outline(str(index(tmp_path, ["my_pipeline", "MyPipeline"])))


def test_a_models_facts_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", str(saved("LTXPipeline", tmp_path)), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["size"], facts["frame_rule"], facts["size_multiple"]) == (161, "704x512", "8k+1", 32)
    assert "decode_timestep" in facts["options"] and facts["solver"] == "FlowMatchEulerDiscreteScheduler"
