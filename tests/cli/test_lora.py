"""LoRAs on the command line: applied, recorded, repeated, and refused before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from tests.lora_files import RANK, draw_factors, write_lora
from tests.tiny.table import load_rows
from videogen import Engine, Video
from videogen.backbones import loading

SMALL = ("--frames", "5", "--size", "32x32", "--steps", "2", "--quiet")


@pytest.fixture
def file(tiny: Path, tmp_path: Path) -> Path:
    return write_lora(tmp_path / "style.safetensors", Engine.load(tiny, device="cpu").backbone.pipeline.transformer)


def test_a_lora_is_applied_recorded_and_repeated(run: Run, tiny: Path, file: Path, tmp_path: Path) -> None:
    common = ("render", "a red ball", "--model", str(tiny), *SMALL)
    assert run(*common, "-o", "plain.mp4").code == 0
    done = run(*common, "--lora", "style.safetensors:0.8@0-0.5", "-o", "a.mp4")
    assert done.code == 0, done.err
    first = Video.open("a.mp4")
    assert first.manifest is not None and (first.frames != Video.open("plain.mp4").frames).any()
    assert first.manifest["request"]["loras"][0] | {"sha256": ""} == {
        "file": str(file), "weight": 0.8, "start": 0.0, "end": 0.5, "expert": None, "sha256": "",
    }  # fmt: skip
    listed = run("inspect", "a.mp4")
    assert "loras style.safetensors" in listed.out and "weight 0.8 in 0-0.5 of the steps, 20 layers" in listed.out
    assert run("render", "--like", "a.mp4", "--quiet", "-o", "b.mp4").code == 0
    assert (Video.open("b.mp4").frames == first.frames).all()
    write_lora(file, load_rows()["WanPipeline"].build().transformer, seed=5)
    refused = run("render", "--like", "a.mp4", "-o", "c.mp4")
    assert refused.code == 2 and "style.safetensors has changed since it was recorded" in refused.err


def test_a_configuration_names_files_relative_to_itself(run: Run, tiny: Path, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "settings"
    folder.mkdir()
    file.rename(folder / "style.safetensors")
    (folder / "a.toml").write_text(
        f'prompt = "a red ball"\nmodel = "{tiny}"\nloras = ["style.safetensors:0.5", '
        '{file = "style.safetensors", weight = 0.25}]\n',
        encoding="utf-8",
    )
    done = run("render", "--config", "settings/a.toml", *SMALL[:-1], "--json", "-o", "a.mp4")
    assert done.code == 0, done.err
    loras = json.loads(done.out)["manifest"]["measured"]["loras"]
    assert [(one["weight"], one["file"]) for one in loras] == [
        (0.5, str(folder / "style.safetensors")), (0.25, str(folder / "style.safetensors")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        pytest.param("gone.safetensors", "gone.safetensors does not exist; give the file of a LoRA", id="no file"),
        pytest.param("style.safetensors@0.5", "style.safetensors@0.5 does not exist", id="half a span"),
        pytest.param("style.safetensors@0.7-0.2", "give fractions of the steps with 0 <= START < END", id="a span"),
        pytest.param("cut.safetensors", "cut.safetensors is truncated", id="truncated"),
        pytest.param("old.ckpt", "old.ckpt is pickled (.ckpt), which can run code", id="a pickle"),
        pytest.param("large.safetensors", "does not fit this model", id="of a larger model"),
        pytest.param("ranks.safetensors", "whose ranks differ; copy it again", id="ranks differ"),
        pytest.param("high=style.safetensors", "this model has a single denoiser; leave out high=", id="an expert"),
    ],
)
def test_what_cannot_be_applied_is_refused_before_weights_are_read(
    lora: str, message: str, run: Run, tiny: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Engine.load(tiny, device="cpu").backbone.pipeline.transformer
    monkeypatch.setattr(loading, "build_pipeline", lambda *values, **options: pytest.fail("weights were read"))
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-8])
    torch.save({}, tmp_path / "old.ckpt")
    factors = draw_factors(model)
    large = {name: (torch.ones(RANK, 2 * down.shape[1]), up) for name, (down, up) in factors.items()}
    ranks = {name: (torch.ones(RANK + 1, down.shape[1]), up) for name, (down, up) in factors.items()}
    write_lora(tmp_path / "large.safetensors", model, factors=large)
    write_lora(tmp_path / "ranks.safetensors", model, factors=ranks)
    found = run("render", "a red ball", "--model", str(tiny), *SMALL, "--lora", lora, "-o", "a.mp4")
    assert found.code == 2 and message in found.err, found.err
    assert not (tmp_path / "a.mp4").exists()


def test_unknown_keys_are_said(run: Run, tiny: Path, file: Path, tmp_path: Path) -> None:
    model = Engine.load(tiny, device="cpu").backbone.pipeline.transformer
    write_lora(tmp_path / "more.safetensors", model, more={"transformer.blocks.0.norm9.diff": torch.ones(1)})
    found = run(
        "render", "a red ball", "--model", str(tiny), *SMALL[:-1], "--lora", "more.safetensors", "-o", "a.mp4"
    )  # fmt: skip
    assert found.code == 0
    note = "more.safetensors has 1 tensors for which this model has no layer: transformer.blocks.0.norm9.diff"
    assert note in found.err
