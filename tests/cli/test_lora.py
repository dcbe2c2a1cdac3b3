"""LoRAs on the command line: applied, recorded, repeated, and refused before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.conftest import Run
from tests.contract.families import animatediff
from tests.lora_files import RANK, draw_factors, write_lora
from tests.tiny.table import load_rows
from videogen import Engine, Video
from videogen.backbones import loading
from videogen.backbones.lora.spec import Lora

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
        pytest.param("cut.safetensors", "cut.safetensors cannot be loaded: it has", id="truncated"),
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


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion") / "tiny-animatediff"
    animatediff(folder)
    return folder


def test_an_embedding_is_applied_and_recorded(run: Run, motion: Path, tmp_path: Path) -> None:
    save_file({"emb_params": torch.ones(2, 16)}, tmp_path / "cat.safetensors")
    common = ("render", "a <cat>", "--model", str(motion), "--frames", "4", "--size", "16x16", "--steps", "1")
    assert run(*common, "--quiet", "-o", "plain.mp4").code == 0
    done = run(*common, "--embedding", "<cat>=cat.safetensors", "-o", "a.mp4")
    assert done.code == 0 and "has no effect" not in done.err, done.err
    video = Video.open("a.mp4")
    assert video.manifest is not None and (video.frames != Video.open("plain.mp4").frames).any()
    (record,) = video.manifest["measured"]["embeddings"]
    assert (record["token"], record["vectors"], record["name"]) == ("<cat>", 2, "cat.safetensors")
    assert "no prompt has its token '<dog>'" in run(*common, "--embedding", "<dog>=cat.safetensors", "-o", "b.mp4").err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param("motion", "has an embedding of shape [1, 8], and this model's text encoder takes 16", id="width"),
        pytest.param("tiny", "that CLIP reads, and this model's text encoder is UMT5EncoderModel", id="UMT5"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused_before_weights_are_read(
    model: str, message: str, run: Run, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"emb_params": torch.ones(1, 8)}, tmp_path / "cat.safetensors")
    monkeypatch.setattr(loading, "build_pipeline", lambda *values, **options: pytest.fail("weights were read"))
    folder = request.getfixturevalue(model)
    done = run("render", "a <cat>", "--model", str(folder), *SMALL[2:], "--embedding", "<cat>=cat.safetensors")
    assert done.code in (2, 3) and message in done.err, done.err


def test_a_lora_of_alpha_0_adds_its_bias_alone(tiny: Path, tmp_path: Path) -> None:
    engine = Engine.load(tiny, device="cpu")
    model = engine.backbone.pipeline.transformer
    name = "blocks.0.attn1.to_q"
    layer = model.get_submodule(name)
    bias = torch.linspace(-1, 1, layer.out_features)
    factors = {name: draw_factors(model)[name]}
    more = {f"transformer.{name}.lora_B.bias": bias}
    path = write_lora(tmp_path / "a.safetensors", model, factors=factors, alpha=0.0, more=more)
    plain, x = model.get_submodule(name), torch.randn(1, 4, layer.in_features)
    expected = plain(x) + 0.5 * bias
    with engine.backbone.adaptation.apply([Lora(str(path), 0.5)], []), torch.inference_mode():
        assert torch.allclose(model.get_submodule(name)(x), expected, atol=1e-6)


def test_a_lora_of_integers_is_refused(run: Run, tiny: Path, tmp_path: Path) -> None:
    model = Engine.load(tiny, device="cpu").backbone.pipeline.transformer
    factors = {name: (down.to(torch.int8), up) for name, (down, up) in draw_factors(model).items()}
    write_lora(tmp_path / "a.safetensors", model, factors=factors)
    done = run("render", "a red ball", "--model", str(tiny), *SMALL, "--lora", "a.safetensors", "-o", "a.mp4")
    assert done.code == 2 and "lora_A.weight is stored as I8, not as floating-point numbers" in done.err, done.err
