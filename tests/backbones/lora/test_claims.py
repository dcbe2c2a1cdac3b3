"""Two engines that share a text encoder: one at a time changes it, and each leaves it as it was."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.contract.families import animatediff
from tests.lora_files import denoiser_of, write_lora
from videogen import Engine, InputError
from videogen.backbones.lora.spec import Lora

CLIP: dict[str, Any] = {"frames": 4, "size": (16, 16), "steps": 1, "seed": 1}
LAYER = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Engine]:
    folder = tmp_path_factory.mktemp("shared") / "tiny"
    animatediff(folder)
    first = Engine.load(folder, device="cpu")
    pipeline: Any = first.backbone.pipeline
    parts = pipeline.components | {"unet": copy.deepcopy(pipeline.unet)}
    return first, Engine.from_pipeline(type(pipeline)(**parts))


@pytest.fixture
def files(engines: tuple[Engine, Engine], tmp_path: Path) -> dict[str, str]:
    """A LoRA of the text encoder, one of the denoiser alone, and a textual inversion."""
    generator = torch.Generator().manual_seed(5)
    down, up = (torch.randn(shape, generator=generator) for shape in ((2, 16), (16, 2)))
    save_file({f"{LAYER}.lora_A.weight": down, f"{LAYER}.lora_B.weight": up}, tmp_path / "text.safetensors")
    save_file({"<cat>": torch.randn(1, 16, generator=generator)}, tmp_path / "cat.safetensors")
    write_lora(tmp_path / "denoiser.safetensors", denoiser_of(engines[0].backbone.pipeline))
    return {name: str(tmp_path / f"{name}.safetensors") for name in ("text", "cat", "denoiser")}


def frames(engine: Engine, **more: Any) -> np.ndarray:
    return engine.generate("a red <cat>", **CLIP, **more).frames


def test_a_shared_text_encoder_is_changed_by_one_engine_at_a_time(
    engines: tuple[Engine, Engine], files: dict[str, str]
) -> None:
    first, second = engines
    encoder: Any = first.backbone.pipeline.text_encoder
    assert second.backbone.pipeline.text_encoder is encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    plain, with_lora = frames(second), frames(second, loras=[files["text"]])
    assert not np.array_equal(plain, with_lora)
    with first.backbone.adaptation.loras.apply([Lora(files["text"])]):
        for more in ({"loras": [files["text"]]}, {"embeddings": [files["cat"]]}):
            with pytest.raises(InputError, match=r"text_encoder of .* is shared with another engine.*end that render"):
                frames(second, **more)
    assert encoder.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert np.array_equal(frames(second, loras=[files["text"]]), with_lora) and np.array_equal(frames(second), plain)


def test_what_only_changes_an_engines_own_denoiser_is_not_refused(
    engines: tuple[Engine, Engine], files: dict[str, str]
) -> None:
    first, second = engines
    wanted = frames(second, loras=[files["denoiser"]])
    with first.backbone.adaptation.loras.apply([Lora(files["denoiser"])]):
        assert np.array_equal(frames(second, loras=[files["denoiser"]]), wanted)


def test_one_engine_changes_its_text_encoder_in_two_ways(engines: tuple[Engine, Engine], files: dict[str, str]) -> None:
    both = frames(engines[0], loras=[files["text"]], embeddings=[files["cat"]])
    assert not np.array_equal(both, frames(engines[0], loras=[files["text"]]))
