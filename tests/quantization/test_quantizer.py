"""Quantization of tiny models: targets, reports, and copies that give the same bits when they are loaded."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange

from tests.tiny.table import load_rows
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.precision.quantized_layers import QuantizedLayer
from videogen.cli.main import main
from videogen.core.errors import InputError, UnsupportedError
from videogen.engine.engine import Engine
from videogen.quantization.checkpoint import quantize_checkpoint
from videogen.quantization.observing import observe
from videogen.quantization.options import QuantizeOptions
from videogen.quantization.quantizer import Quantizer

CPU = LoadOptions(device="cpu")
SMALL: dict[str, Any] = {"steps": 2, "prompts": ("a ball",), "samples": 1, "search": False}


def small(name: str) -> dict[str, Any]:
    frames, width, height = load_rows()[name].sizes[0]
    return {**SMALL, "frames": frames, "size": (width, height)}


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan")
    load_rows()["WanPipeline"].build().save_pretrained(folder)
    return folder


def frames(engine: Engine, name: str = "WanPipeline") -> np.ndarray:
    given = small(name)
    return engine.generate("a ball", frames=given["frames"], size=given["size"], steps=2, seed=5).frames


@pytest.mark.parametrize(
    "goal",
    [
        pytest.param({"to": "int4-svd4"}, id="format"),
        pytest.param({"psnr": 30.0}, id="psnr", marks=pytest.mark.slow),
        pytest.param({"target": 20_000}, id="size", marks=pytest.mark.slow),
    ],
)
def test_a_copy_reaches_its_target_and_gives_the_same_bits(goal: dict[str, Any], wan: Path, tmp_path: Path) -> None:
    options = QuantizeOptions(**goal, **small("WanPipeline"))
    report = quantize_checkpoint(str(wan), tmp_path / "copy", options, CPU)
    assert report.bytes_after < report.bytes_before
    stored = json.loads((tmp_path / "copy" / "quantization.json").read_text(encoding="utf-8"))
    assert stored["mean_psnr_db"] == report.mean_psnr_db and stored["components"]["transformer"]["layers"]
    if "psnr" in goal:
        assert report.mean_psnr_db >= 30
    if "target" in goal:
        assert report.bytes_after <= 20_000
    engine = Engine.load(wan, device="cpu")
    quantizer = Quantizer(engine, options)
    assert quantizer.run().psnr_db == report.psnr_db
    assert np.array_equal(frames(engine), frames(Engine.load(tmp_path / "copy", device="cpu")))


def test_a_psnr_that_no_format_reaches_leaves_the_model_as_it_was(wan: Path) -> None:
    engine = Engine.load(wan, device="cpu")
    before = frames(engine)
    options = QuantizeOptions(psnr=80, formats=("int2", "int3"), **small("WanPipeline"))
    with pytest.raises(InputError, match="largest formats give"):
        Quantizer(engine, options).run()
    assert np.array_equal(frames(engine), before)


def test_a_size_that_no_format_reaches_names_the_smallest(wan: Path, tmp_path: Path) -> None:
    options = QuantizeOptions(target=100, **small("WanPipeline"))
    with pytest.raises(InputError, match=r"smallest possible, \d+\.\d MB"):
        quantize_checkpoint(str(wan), tmp_path / "copy", options, CPU)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"target": 100}, r"smallest possible, \d+\.\d MB", id="a size that is too small"),
        pytest.param({"to": "int4-svd999"}, "no less than the model's", id="a copy that is larger"),
        pytest.param(
            {"to": "int4", "time_format": "int6"}, "leave it out", id="no layers that compute with the timestep"
        ),
    ],
)
def test_what_sizes_show_is_refused_before_a_clip_is_rendered(
    options: dict[str, Any], message: str, wan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.load(wan, device="cpu")
    monkeypatch.setattr(engine, "generate", lambda *_, **__: pytest.fail("a clip was rendered"))
    with pytest.raises(InputError, match=message):
        Quantizer(engine, QuantizeOptions(**options, **small("WanPipeline"))).run()


@pytest.mark.parametrize("name", ["WanPipeline:experts", "AnimateDiffPipeline"])
def test_both_experts_and_convolutions_are_quantized(name: str) -> None:
    engine = Engine.from_pipeline(load_rows()[name].build())
    report = Quantizer(engine, QuantizeOptions(to="int8", **{**small(name), "steps": 3})).run()
    for component in report.components:
        model = getattr(engine.backbone.pipeline, component)
        assert any(isinstance(layer, QuantizedLayer) for layer in model.modules())
    assert report.mean_psnr_db > 25 and len(report.components) == (2 if "experts" in name else 1)


def test_an_expert_that_is_never_called_is_named() -> None:
    engine = Engine.from_pipeline(load_rows()["WanPipeline:experts"].build())
    with pytest.raises(InputError, match="is not called"):
        Quantizer(engine, QuantizeOptions(to="int8", **{**small("WanPipeline:experts"), "steps": 1})).run()


@pytest.mark.slow
def test_layers_that_compute_with_the_timestep_are_left_unless_requested() -> None:
    row = load_rows()["AnimateDiffPipeline"]
    layers = {}
    for time_format in (None, "int6"):
        engine = Engine.from_pipeline(row.build())
        report = Quantizer(engine, QuantizeOptions(to="int4", time_format=time_format, **small(row.name))).run()
        layers[time_format] = report.components["unet"].layers
    added = layers["int6"].keys() - layers[None].keys()
    assert added and all("time_emb" in name and layers["int6"][name].format == "int6" for name in added)


def test_observation_sees_what_each_layer_receives() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 3, bias=False)

        def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor) -> tuple[torch.Tensor]:
            return (self.layer(hidden_states),)

    model, values = Model(), torch.tensor([1.0, 2.0, 3.0]).expand(1, 2, 2, 3)

    def render() -> None:
        for scale, step in ((1, 900), (1, 900), (2, 500), (1, 900), (4, 500)):  # two branches; then a second clip
            model(values * scale, timestep=torch.tensor([step]))

    found = observe(model, {"layer": model.layer}, render)
    assert [call.step for call in found.calls] == [0, 1, 0, 1] and len(found.features) == 2
    assert torch.allclose(found.squares[0]["layer"], torch.tensor([1.0, 4.0, 9.0]))
    assert torch.allclose(found.squares[1]["layer"], torch.tensor([1.0, 4.0, 9.0]) * 10)
    assert torch.allclose(found.importance([1.0, 0.0])["layer"], torch.tensor([1.0, 4.0, 9.0]))
    assert not model._forward_hooks and not model.layer._forward_pre_hooks


@pytest.mark.parametrize("order", ["b c f h w", "b f c h w", "b (f h w) c"])
def test_features_are_means_of_channels_in_every_layout(order: str) -> None:
    class Model(torch.nn.Module):
        config = SimpleNamespace(out_channels=4)

        def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor) -> tuple[torch.Tensor]:
            return (rearrange(hidden_states, f"b c f h w -> {order}"),)

    model, values = Model(), torch.randn(2, 4, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    found = observe(model, {}, lambda: model(values, timestep=torch.tensor([900])))
    assert torch.allclose(found.features[0], values.mean((0, 2, 3, 4)), atol=1e-6)


def test_a_quantized_model_is_not_quantized_again(wan: Path) -> None:
    engine = Engine.load(wan, device="cpu", precision="int8")
    with pytest.raises(UnsupportedError, match="quantized already"):
        Quantizer(engine, QuantizeOptions(to="int4", **small("WanPipeline"))).run()


@pytest.mark.parametrize(
    "load", [LoadOptions(precision="int8"), LoadOptions(vae="other"), LoadOptions(offload="model")],
    ids=["precision", "vae", "offload"],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(load: LoadOptions, wan: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be combined with quantize"):
        quantize_checkpoint(str(wan), tmp_path / "copy", QuantizeOptions(to="int8"), load)


def test_the_command_writes_a_copy_that_renders(wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy, prompts = tmp_path / "copy", tmp_path / "prompts.txt"
    prompts.write_text("a ball\n\n", encoding="utf-8")
    clip = ["--frames", "5", "--size", "16x16", "--steps", "2"]
    arguments = ["quantize", str(wan), "-o", str(copy), "--to", "int8", "--prompts", str(prompts), "--device", "cpu"]
    assert main([*arguments, *clip, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["path"] == str(copy) and values["components"]["transformer"]["bytes_after"] == values["bytes_after"]
    assert (
        main(["render", "a ball", "--model", str(copy), *clip, "--device", "cpu", "-o", str(tmp_path / "a.mp4")]) == 0
    )
    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_mode == (copy / "quantization.json").stat().st_mode
    assert main(arguments) == 2 and "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "int9"], "int9"),
        ([], "none is given"),
        (["--to", "int8", "--size", "big"], "WIDTHxHEIGHT"),
        (["--to", "int8", "--prompts", "/nowhere.txt"], "nowhere.txt"),
        (["--to", "int8", "--sampling", "often"], "often"),
    ],
)
def test_bad_arguments_are_refused_before_loading(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantize", "embedded", "-o", str(tmp_path / "copy"), *arguments]) == 2
    assert message in capsys.readouterr().err
