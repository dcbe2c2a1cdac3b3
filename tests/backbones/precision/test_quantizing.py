"""Quantized layers and models: like any other layer, saved and loaded with the same bits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny.table import load_rows
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.precision import table
from videogen.backbones.precision.encoding import encode
from videogen.backbones.precision.quantized_layers import can_quantize, quantized_layer
from videogen.backbones.precision.quantizing import FORMATS_FILE, WEIGHTS_FILE, quantize, save_quantized
from videogen.backbones.precision.selection import find_quantizable, is_time_layer
from videogen.backbones.precision.table import DENOISERS, PRECISIONS, check_installed, dtype_of, parse_precision
from videogen.backbones.precision.weight_format import parse_format
from videogen.core.errors import CheckpointError, InputError, UnsupportedError, VideogenError
from videogen.engine.engine import Engine

WAN = load_rows()["WanPipeline"]


def clip(engine: Engine) -> np.ndarray:
    frames, width, height = WAN.sizes[0]
    return engine.generate("a ball", frames=frames, width=width, height=height, steps=2, seed=1).frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wan")
    WAN.build().save_pretrained(target)
    return target


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (torch.nn.Linear(32, 24), (2, 32)),
        (torch.nn.Linear(32, 24, bias=False), (2, 32)),
        (torch.nn.Conv1d(8, 6, 3, padding=1), (1, 8, 5)),
        (torch.nn.Conv2d(8, 6, 3, stride=2), (1, 8, 5, 5)),
        (torch.nn.Conv3d(8, 6, (3, 1, 1)), (1, 8, 5, 4, 4)),
    ],
)
def test_a_quantized_layer_computes_with_its_decoded_weight(layer: Any, shape: tuple[int, ...]) -> None:
    how, values = parse_format("int4"), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    made: Any = quantized_layer(layer, how, encode(layer.weight.flatten(1), how))
    assert isinstance(made, type(layer)) and made.weight.shape == layer.weight.shape
    layer.weight.data = made.weight
    assert torch.equal(made(values), layer(values))
    assert made(values.bfloat16()).dtype == torch.bfloat16 if layer.bias is None else True
    assert [name for name, _ in made.named_parameters()] == ([] if layer.bias is None else ["bias"])


def test_subclasses_of_layers_are_left_alone() -> None:
    class Own(torch.nn.Linear): ...

    assert can_quantize(torch.nn.Linear(2, 2)) and not can_quantize(Own(2, 2))


def test_layers_of_blocks_are_quantized_and_what_computes_with_the_timestep_is_not() -> None:
    model = WAN.build().transformer
    names = find_quantizable(model)
    assert "blocks.0.attn1.to_q" in names and not [name for name in names if "embedder" in name or name == "proj_out"]
    assert is_time_layer("down_blocks.0.resnets.0.time_emb_proj") and is_time_layer("blocks.3.norm1.linear")
    assert not is_time_layer("blocks.0.attn1.to_q")


@pytest.mark.parametrize("name", ["int8", "fp8", "int4-svd4", "fp8-storage"])
def test_a_folder_is_loaded_in_a_precision(name: str, folder: Path) -> None:
    plain, other = Engine.load(folder, device="cpu"), Engine.load(folder, device="cpu", precision=name)
    reference, frames = clip(plain), clip(other)
    assert frames.shape == reference.shape and not np.array_equal(frames, reference)
    assert np.abs(frames.astype(int) - reference).mean() < 12
    count = sum(value.numel() * value.element_size() for value in other.backbone.denoisers()[0].state_dict().values())
    full = sum(value.numel() * value.element_size() for value in plain.backbone.denoisers()[0].state_dict().values())
    assert count < 0.75 * full


def test_a_saved_model_gives_the_same_bits(folder: Path, tmp_path: Path) -> None:
    pipeline = WAN.build()
    formats = {name: parse_format("int4-svd4") for name in find_quantizable(pipeline.transformer)}
    quantize(pipeline.transformer, formats)
    expected = clip(Engine.from_pipeline(pipeline))
    WAN.build().save_pretrained(tmp_path)
    for file in (tmp_path / "transformer").iterdir():
        file.unlink()
    save_quantized(pipeline.transformer, tmp_path / "transformer", formats)
    assert np.array_equal(clip(Engine.load(tmp_path, device="cpu")), expected)
    with pytest.raises(InputError, match="quantized already"):
        Engine.load(tmp_path, device="cpu", precision="int8")


def _quantized_folder(target: Path) -> Path:
    pipeline = WAN.build()
    pipeline.save_pretrained(target)
    for file in (target / "transformer").iterdir():
        file.unlink()
    how = {"blocks.0.attn1.to_q": parse_format("int4")}
    quantize(pipeline.transformer, how)
    save_quantized(pipeline.transformer, target / "transformer", how)
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9, "layers": {}}, "update videogen"),
        ({"version": 1, "layers": {"blocks.0.attn1.to_q": "int99"}}, "int99"),
        ({"version": 1, "layers": {"blocks.7.attn1.to_q": "int4"}}, "another model"),
        ({"version": 1, "layers": {"blocks.0.norm2": "int4"}}, "another model"),
        ({"version": 1, "layers": {"blocks.0.attn1.to_q": "int8"}}, "does not fit"),
        ({"version": 1, "layers": {}}, "does not fit"),
        ([], "damaged"),
    ],
)
def test_damaged_formats_are_named(change: Any, message: str, tmp_path: Path) -> None:
    folder = _quantized_folder(tmp_path)
    (folder / "transformer" / FORMATS_FILE).write_text(json.dumps(change), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        Engine.load(folder, device="cpu")


def test_truncated_weights_are_named(tmp_path: Path) -> None:
    weights = _quantized_folder(tmp_path) / "transformer" / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=WEIGHTS_FILE):
        Engine.load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("text", "components"),
    [
        ("int8", [DENOISERS]),
        ("fp8-storage,text_encoder=int8", [DENOISERS, "text_encoder"]),
        ("transformer=int4", ["transformer"]),
        ("vae=fp32", ["vae"]),
        ("fp16,vae=bf16", [DENOISERS, "vae"]),
    ],
)
def test_precisions_are_read(text: str, components: list[str]) -> None:
    assert list(parse_precision(text)) == components


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int9", "unknown"),
        ("torchao-int88", "did you mean 'torchao-int8'"),
        ("int8,int4", "twice"),
        ("text_encoder=bf16", "entire model"),
        ("gguf", "give the file"),
        ("nunchaku", "nunchaku_lite.*give its folder.*package kernels"),
        ("", "names no precision"),
        ("int8,", "'int8,' names no precision between its commas"),
        ("text_encoder=", "unknown"),
    ],
)
def test_other_precisions_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_precision(text)


def test_a_component_that_the_model_does_not_have_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"'unet'.*transformer"):
        Engine.load(folder, device="cpu", precision="unet=int8")


@pytest.mark.parametrize(("name", "kind"), [("tokenizer", r"\w+"), ("scheduler", r"\w+Scheduler")])
def test_a_component_without_weights_has_no_precision(name: str, kind: str, folder: Path) -> None:
    message = f"'{name}': a {kind} has no weights; give it for one of .*transformer"
    with pytest.raises(InputError, match=message):
        Engine.load(folder, device="cpu", precision=f"{name}=int8")


def test_an_empty_precision_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="names no precision"):
        Engine.load(folder, device="cpu", precision="")


def test_a_text_encoder_cannot_cast_layer_by_layer(folder: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"'fp8-storage': text_encoder \(\w+\) cannot cast layer by layer"):
        Engine.load(folder, device="cpu", precision="text_encoder=fp8-storage")


def test_a_dtype_is_a_precision_too(folder: Path) -> None:
    assert Engine.load(folder, device="cpu", precision="bf16").backbone.dtype == torch.bfloat16
    assert LoadOptions(precision="bf16", dtype="bfloat16").chosen_dtype == dtype_of("bf16") == "bfloat16"
    with pytest.raises(InputError, match="give one of them"):
        LoadOptions(precision="bf16", dtype="float32")


@pytest.mark.parametrize("name", [name for name, row in PRECISIONS.items() if row.packages])
def test_missing_packages_and_devices_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, row = parse_precision(name), PRECISIONS[name]
    for reason in ("is not installed", "is installed, but its import fails (OSError: x); install it again"):
        monkeypatch.setattr(table, "missing", lambda package, name, reason=reason: f"{name} {reason}")
        with pytest.raises(UnsupportedError, match=rf"needs \S+: \S+ {re.escape(reason)}: pip install"):
            check_installed(chosen, "cuda")
    monkeypatch.setattr(table, "missing", lambda package, name: None)
    check_installed(chosen, row.device or "cpu")
    if row.device:
        with pytest.raises(VideogenError, match="needs a cuda device"):
            check_installed(chosen, "cpu")
