"""`--like` of a stranger's file: which model is loaded unasked, before anything of it is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanPipeline

from tests.cli.conftest import Run
from videogen import Engine, InputError, RenderRequest, Video
from videogen.backbones import hub, loading, registry
from videogen.backbones.digest import digest
from videogen.backbones.loading import dtype_option

SMALL = {"prompt": "a red ball", "frames": 5, "width": 32, "height": 32, "steps": 1, "dtype": "float32"}
HUB = "someone/model"


def write(path: Path, model: str | None, stored: str | None, **measured: Any) -> Path:
    """A video whose manifest names this model and digest; its model's own name is harmless."""
    identity = {"name": "embedded", "family": "wan", "hash": stored}
    manifest = {"schema": 1, "request": {**SMALL, "model": model}, "model": identity, "measured": measured}
    Video(np.zeros((2, 32, 32, 3), np.uint8), 8, manifest).save(path)
    return path


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was fetched from the hub, or built from weights, instead of which the test fails here."""
    found: list[str] = []

    def refuse(what: str) -> Any:
        def call(*values: Any, **options: Any) -> Any:
            found.append(what)
            raise InputError(f"reached {what}")

        return call

    for name in ("hub_index", "cached_index"):
        monkeypatch.setattr(hub, name, refuse(name))
    monkeypatch.setattr(registry, "_hub_index", refuse("hub"))
    monkeypatch.setattr(loading, "build_pipeline", refuse("weights"))
    return found


@pytest.mark.parametrize(
    ("model", "flags", "message", "reached"),
    [
        pytest.param("hub", (), f"names model='{HUB}'", [], id="a model of the hub"),
        pytest.param("hub", ("--seed", "3"), "--allow-model", [], id="other settings name no model"),
        pytest.param("hub", ("--allow-model",), "reached hub", ["hub"], id="one of the hub that is allowed"),
        pytest.param("hub", ("--model", HUB), "reached hub", ["hub"], id="one of the hub that is named"),
        pytest.param("hub", ("--config", "own.toml"), "reached hub", ["hub"], id="one that a configuration names"),
        pytest.param("changed", (), "has other weights than when", [], id="a folder with other weights"),
        pytest.param("changed", ("--allow-model",), "name the model with --model", [], id="allowing does not help"),
        pytest.param("missing", (), "(not recorded then", [], id="a folder without a digest"),
        pytest.param("same", (), "reached weights", ["weights"], id="a folder with the recorded digest"),
        pytest.param("changed", ("--model", "{tiny}"), "reached weights", ["weights"], id="a folder that is named"),
        pytest.param("embedded", (), "reached weights", ["weights"], id="an embedded model"),
        pytest.param("other embedded", (), "has other weights", [], id="an embedded model of another version"),
    ],
)
def test_a_model_is_checked_before_it_is_loaded(
    model: str, flags: tuple[str, ...], message: str, reached: list[str], run: Run, tiny: Path, tmp_path: Path,
    fetched: list[str],
) -> None:  # fmt: skip
    (tmp_path / "own.toml").write_text(f'model = "{HUB}"\n')
    names = {
        "hub": (HUB, "0" * 32),
        "changed": (str(tiny), "0" * 32),
        "missing": (str(tiny), None),
        "same": (str(tiny), digest(tiny)),
        "embedded": (None, digest(registry.EMBEDDED["embedded"])),
        "other embedded": ("embedded", "0" * 32),
    }
    write(tmp_path / "a.mp4", *names[model])
    outcome = run("render", "--like", "a.mp4", *(flag.format(tiny=tiny) for flag in flags), "-o", "b.mp4")
    assert (outcome.code, fetched) == (2, reached) and message in outcome.err, outcome.err
    assert not (tmp_path / "b.mp4").exists()


def test_allowing_a_model_needs_a_file_that_names_one(run: Run) -> None:
    outcome = run("render", "x", "--allow-model")
    assert outcome.code == 2 and "no effect without --like" in outcome.err


def test_python_loads_the_model_of_a_file_by_the_same_rule(tiny: Path, tmp_path: Path, fetched: list[str]) -> None:
    with pytest.raises(InputError, match="allow_model=True"):
        Engine.load_like(write(tmp_path / "hub.mp4", HUB, "0" * 32))
    with pytest.raises(InputError, match="other weights"):
        Engine.load_like(write(tmp_path / "changed.mp4", str(tiny), "0" * 32))
    assert not fetched
    with pytest.raises(InputError, match="reached hub"):
        Engine.load_like(tmp_path / "hub.mp4", allow_model=True)
    with pytest.raises(InputError, match="reached weights"):
        Engine.load_like(write(tmp_path / "same.mp4", str(tiny), digest(tiny)))


def test_techniques_of_the_author_are_noted(run: Run, tiny: Path, tmp_path: Path) -> None:
    model = str(shutil.copytree(tiny, tmp_path / "model"))
    write(tmp_path / "a.mp4", model, digest(tiny), techniques=["mine:Sharpen"])
    outcome = run("render", "--like", "a.mp4", "-o", "b.mp4")
    assert outcome.code == 0 and "(mine:Sharpen), which --like does not repeat" in outcome.err


@pytest.mark.parametrize("changed", [False, True], ids=["as it was", "with other weights in memory"])
def test_a_clip_of_a_pipeline_in_memory_is_repeated_from_its_files(
    changed: bool, run: Run, tiny: Path, tmp_path: Path
) -> None:
    pipeline = WanPipeline.from_pretrained(tiny, **dtype_option(torch.float32))
    if changed:
        pipeline.transformer.proj_out.weight.data += 0.1
    video = Engine.from_pipeline(pipeline).render(RenderRequest.from_dict({**SMALL, "dtype": None, "seed": 4}))
    assert video.manifest is not None and "components_hash" in video.manifest["model"]
    video.save(tmp_path / "a.mp4")
    outcome = run("render", "--like", "a.mp4", "-o", "b.mp4")
    if changed:
        assert outcome.code == 2 and "other weights" in outcome.err and "changed after loading" in outcome.err
    else:
        assert outcome.code == 0, outcome.err
        assert np.array_equal(Video.open(tmp_path / "b.mp4").frames, Video.open(tmp_path / "a.mp4").frames)
