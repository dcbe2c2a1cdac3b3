"""The embedded DiT as a native Wan: names, metadata, and what the command writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.tiny.table import load_rows
from videogen.cli.main import main
from videogen.comfyui.embedded.native_wan import convert_weights, load_embedded_weights
from videogen.core.errors import UnsupportedError

#: what ComfyUI's Wan for text to video has in a block
BLOCK = {
    f"{part}.{name}.{kind}" for part in ("self_attn", "cross_attn") for name in "qkvo" for kind in ("weight", "bias")
} | {f"{part}.norm_{name}.weight" for part in ("self_attn", "cross_attn") for name in "qk"} | {
    f"{name}.{kind}" for name in ("ffn.0", "ffn.2", "norm3") for kind in ("weight", "bias")
} | {"modulation"}  # fmt: skip


def test_every_weight_of_the_embedded_model_has_its_name() -> None:
    weights, metadata = load_embedded_weights()
    for number in range(7):
        prefix = f"blocks.{number}."
        assert {name.removeprefix(prefix) for name in weights if name.startswith(prefix)} == BLOCK
    rest = {name.rpartition(".")[0] or name for name in weights if not name.startswith("blocks.")}
    assert rest == {
        "head", "head.head", "patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0",
        "time_embedding.2", "time_projection.1",
    }  # fmt: skip
    assert all(value.dtype == torch.float32 for value in weights.values())
    assert json.loads(metadata["config"])["transformer"] == {
        "num_heads": 4, "freq_dim": 64, "text_dim": 128, "eps": 1e-6
    }  # fmt: skip


def test_the_command_writes_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "native.safetensors"
    assert main(["comfyui", "export-model", "-o", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    stored, (weights, _) = load_file(target), load_embedded_weights()
    assert stored.keys() == weights.keys() and torch.equal(
        stored["head.head.weight"].float(), weights["head.head.weight"]
    )
    with safe_open(target, "pt") as file:
        assert json.loads(file.metadata()["config"])["transformer"]["num_heads"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["embedded-unet", "-o", "a.safetensors"], "config.json", id="a UNet"),
        pytest.param(["/nowhere", "-o", "a.safetensors"], "/nowhere", id="no folder"),
        pytest.param(["-o", "a.pt"], "must end in .safetensors", id="another suffix"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["comfyui", "export-model", *arguments]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_image_conditions_have_no_native_names() -> None:
    weights = load_rows()["WanImageToVideoPipeline"].build().transformer.state_dict()
    with pytest.raises(UnsupportedError, match="has no name"):
        convert_weights(weights)
