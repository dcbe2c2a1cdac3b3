"""fp8 storage that a plan chooses: for one render alone, and never for weights that are quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract.families import wan
from tests.engine.test_out_of_memory import Shortage, steps_of
from videogen import Engine, InputError, UnsupportedError, Video
from videogen.backbones.precision.layerwise_casting import cast_layers, find_quantized_layer
from videogen.backbones.residency import Residency

PROMPT = "a red ball"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "wan"
    wan(path)
    return path


def clip(frames: int = 5) -> dict[str, Any]:
    return {"frames": frames, "size": (32, 32), "steps": 2}


def fp8_of(video: Video) -> bool:
    assert video.manifest is not None
    measured: Any = video.manifest["measured"]
    return bool(measured.get("memory", {}).get("residency", {}).get("fp8", False))


def bits_of(engine: Engine) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in engine.backbone.denoisers()[0].parameters()]


def test_a_render_in_fp8_leaves_the_weights_of_the_next_as_they_were(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from videogen.planning import plan as planning

    engine = Engine.load(str(folder), device="cpu")
    before, first = bits_of(engine), engine.generate(PROMPT, memory="8GB", **clip())
    with monkeypatch.context() as patch:
        patch.setattr(planning, "candidates", lambda *_, **__: iter([Residency(fp8=True)]))
        small = engine.generate(PROMPT, memory="8GB", **clip())
    assert fp8_of(small) and not np.array_equal(small.frames, first.frames)
    second = engine.generate(PROMPT, memory="8GB", **clip())
    assert np.array_equal(second.frames, first.frames) and not fp8_of(second)
    assert all(torch.equal(*pair) for pair in zip(before, bits_of(engine), strict=True))


@pytest.mark.slow
def test_a_step_down_to_fp8_is_of_its_render_alone(folder: Path) -> None:
    engine = Engine.load(str(folder), device="cpu")
    first = engine.generate(PROMPT, memory="8GB", **clip())
    with Shortage(engine.backbone.denoisers()[0], "forward", 2):
        small = engine.generate(PROMPT, memory="8GB", **clip())
    assert steps_of(small) == [("denoise", "on device, fp8 storage")]
    second = engine.generate(PROMPT, memory="8GB", **clip())
    assert np.array_equal(second.frames, first.frames) and steps_of(second) == [] and not fp8_of(second)


@pytest.mark.slow
def test_an_error_within_a_layer_leaves_no_rounded_weights(folder: Path) -> None:
    engine = Engine.load(str(folder), device="cpu")
    before = bits_of(engine)
    denoiser: Any = engine.backbone.denoisers()[0]
    with (
        Shortage(denoiser, "forward", 1),
        Shortage(denoiser.blocks[0].ffn.net[2], "forward", 3),
        pytest.raises(Exception, match="out of memory"),
    ):
        engine.generate(PROMPT, memory="8GB", **clip())
    assert all(torch.equal(*pair) for pair in zip(before, bits_of(engine), strict=True))


def test_quantized_layers_are_found_and_not_cast(folder: Path) -> None:
    denoiser: Any = Engine.load(str(folder), device="cpu", precision="int8").backbone.denoisers()[0]
    assert str(find_quantized_layer(denoiser)).startswith("blocks.0")
    with pytest.raises(UnsupportedError, match="quantized already"):
        cast_layers(denoiser, torch.float32)


@pytest.mark.slow
def test_quantized_weights_are_not_cast_where_memory_runs_out(folder: Path) -> None:
    engine = Engine.load(str(folder), device="cpu", precision="int8")
    denoiser: Any = engine.backbone.denoisers()[0]
    plain = engine.generate(PROMPT, **clip())
    with Shortage(denoiser, "forward", 2), pytest.raises(Exception, match="out of memory"):
        engine.generate(PROMPT, memory="8GB", **clip())
    assert np.array_equal(engine.generate(PROMPT, memory="8GB", **clip()).frames, plain.frames)
    with pytest.raises(InputError, match="smallest plan") as error:
        engine.generate(PROMPT, memory="10kB", **clip())
    assert "fp8" not in str(error.value)
