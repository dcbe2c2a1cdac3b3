"""Precisions of libraries, with a stand-in for SDNQ that registers a quantizer with diffusers as SDNQ does."""

from __future__ import annotations

import sys
from enum import Enum
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers.quantizers import auto
from diffusers.quantizers.base import DiffusersQuantizer
from diffusers.quantizers.quantization_config import QuantizationConfigMixin

from tests.tiny.table import load_rows
from videogen.cli.main import main
from videogen.core.errors import UnsupportedError
from videogen.engine.engine import Engine

WAN = load_rows()["WanPipeline"]


class RoundedLinear(torch.nn.Linear):
    """A layer of the stand-in."""


class Method(str, Enum):
    SDNQ = "sdnq"


class SDNQConfig(QuantizationConfigMixin):
    def __init__(self, weights_dtype: str = "int8", **options: Any) -> None:
        self.quant_method, self.weights_dtype, self.options = Method.SDNQ, weights_dtype, options

    def to_diff_dict(self) -> dict[str, Any]:
        return self.to_dict()


class Quantizer(DiffusersQuantizer):
    """Rounds the linear layers of the blocks once they are loaded, those of a width of at least `smallest`."""

    use_keep_in_fp32_modules = True
    smallest = 1

    def _process_model_before_weight_loading(self, model: Any, **options: Any) -> None:
        pass

    def _process_model_after_weight_loading(self, model: Any, **options: Any) -> None:
        for layer in model.blocks.modules():
            if type(layer) is torch.nn.Linear and layer.in_features >= self.smallest:
                layer.weight.data = (layer.weight.data * 16).round() / 16
                layer.__class__ = RoundedLinear

    is_serializable, is_trainable = False, False


@pytest.fixture
def sdnq(monkeypatch: pytest.MonkeyPatch) -> type[Quantizer]:
    module = ModuleType("sdnq")
    module.__spec__ = ModuleSpec("sdnq", None)
    module.SDNQConfig = SDNQConfig  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sdnq", module)
    monkeypatch.setitem(auto.AUTO_QUANTIZER_MAPPING, "sdnq", Quantizer)
    monkeypatch.setitem(auto.AUTO_QUANTIZATION_CONFIG_MAPPING, "sdnq", SDNQConfig)
    return Quantizer


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wan")
    WAN.build().save_pretrained(target)
    return target


def test_a_folder_is_quantized_by_the_library(sdnq: type[Quantizer], wan: Path) -> None:
    model: Any = Engine.load(wan, device="cpu", precision="sdnq-int8").backbone.denoisers()[0]
    plain: Any = Engine.load(wan, device="cpu").backbone.denoisers()[0]
    layer, other = model.blocks[0].attn1.to_q, plain.blocks[0].attn1.to_q
    assert isinstance(layer, RoundedLinear) and type(other) is torch.nn.Linear
    assert torch.equal(layer.weight, (other.weight * 16).round() / 16)
    assert type(model.proj_out) is torch.nn.Linear


def test_a_library_that_quantizes_nothing_is_refused(
    sdnq: type[Quantizer], wan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdnq, "smallest", 1000)
    with pytest.raises(UnsupportedError, match=r"'sdnq-int8': its library has quantized no layer of transformer \(Wan"):
        Engine.load(wan, device="cpu", precision="sdnq-int8")


def test_a_single_file_is_refused(
    sdnq: type[Quantizer], wan: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """diffusers' `from_single_file` leaves torchao's weights as they are, without a word, and fails with the others."""
    file, out = next((wan / "transformer").glob("*.safetensors")), tmp_path / "x.mp4"
    size = ["--size", "32x32", "--frames", "5", "-o", str(out)]
    assert main(["render", "a ball", "--model", str(file), "--base", str(wan), "--precision", "sdnq-int8", *size]) == 2
    message = capsys.readouterr().err
    assert "precision='sdnq-int8': its library quantizes folders in diffusers' layout" in message
    assert f"transformer comes from the file {file}; use a precision of videogen's own, such as int8" in message
    assert not out.exists()
