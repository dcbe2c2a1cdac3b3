"""Folders whose configuration states a precision: what cannot be loaded here is refused before weights are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from videogen.backbones.checkpoints import stored_precision
from videogen.backbones.checkpoints.stored_precision import check_stored_precision
from videogen.cli.main import main
from videogen.core.errors import CheckpointError, UnsupportedError
from videogen.engine.engine import Engine

from .test_joined_sources import copy

NUNCHAKU = {
    "quant_method": "nunchaku_lite", "compute_dtype": "bfloat16",
    "svdq_w4a4": {"precision": "int4", "group_size": 64, "rank": 32, "targets": ["blocks.0.attn1.to_q"]},
}  # fmt: skip


def state(folder: Path, quantization: Any) -> Path:
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": quantization}))
    return folder


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"quant_method": "sdnq"}, "'sdnq', and sdnq is not installed: pip install sdnq"),
        ({"quant_method": "quanto"}, "'quanto', and optimum-quanto is not installed: pip install optimum-quanto"),
        ({"quant_method": "torchao"}, "'torchao', and torchao is not installed: pip install torchao"),
        ({"quant_method": "modelopt"}, "nvidia-modelopt is not installed: pip install nvidia-modelopt"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes is not installed"),
        ({"load_in_8bit": True}, "bitsandbytes is not installed: pip install bitsandbytes"),
        (NUNCHAKU, "'nunchaku_lite', and kernels is not installed: pip install kernels"),
        ({"quant_method": "nunchaku"}, "for Nunchaku's own models; diffusers loads .* 'nunchaku_lite'"),
        ({"quant_method": "bogus"}, "'bogus', which diffusers does not load; it loads .*sdnq"),
    ],
)
def test_what_cannot_be_loaded_here_is_refused_with_its_folder(
    quantization: Any, message: str, wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_precision, "missing", lambda package, name: f"{name} is not installed")
    folder = state(copy(wan, tmp_path / "wan"), quantization)
    with pytest.raises(UnsupportedError, match=message) as raised:
        Engine.load(folder, device="cpu")
    assert str(folder / "transformer") in str(raised.value)


def test_the_command_line_ends_with_the_code_of_bad_input(
    wan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_precision, "missing", lambda package, name: f"{name} is not installed")
    folder = state(copy(wan, tmp_path / "wan"), {"quant_method": "sdnq"})
    arguments = ("render", "a ball", "--model", folder, "--frames", "1", "--size", "32x32", "-o", tmp_path / "a.mp4")
    assert main([str(one) for one in arguments]) == 2
    assert "sdnq is not installed: pip install sdnq" in capfd.readouterr().err


def test_nunchaku_needs_a_gpu_of_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_precision, "missing", lambda package, name: None)
    config = {"quantization_config": NUNCHAKU}
    check_stored_precision(config, "model/transformer", "cuda:0")
    with pytest.raises(UnsupportedError, match=r"model/transformer is .*needs an NVIDIA GPU, and this run is on mps"):
        check_stored_precision(config, "model/transformer", "mps")


def test_the_library_reads_such_a_configuration_and_every_method_has_its_package() -> None:
    from diffusers.quantizers.auto import AUTO_QUANTIZER_MAPPING, DiffusersAutoQuantizer

    assert DiffusersAutoQuantizer.from_dict(dict(NUNCHAKU)).svdq_w4a4["rank"] == 32
    named = {name.removesuffix("_4bit").removesuffix("_8bit") for name in AUTO_QUANTIZER_MAPPING}
    assert set(stored_precision._PACKAGES) == named - {"bfl", "gguf"}  # which need nothing, and are files


def test_a_part_of_another_class_is_named(wan: Path, ltx: Path) -> None:
    message = r"transformer=.* is a LTXVideoTransformer3DModel, and this pipeline's transformer is a WanTransf"
    with pytest.raises(CheckpointError, match=message):
        Engine.load(wan, transformer=ltx, device="cpu")
    with pytest.raises(CheckpointError, match=r"vae=.* is a AutoencoderKLLTXVideo, and this pipeline's vae is a Auto"):
        Engine.load(wan, vae=ltx / "vae", device="cpu")
