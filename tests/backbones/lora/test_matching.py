"""LoRA files matched with a model: layers of every layout, what is unknown, and files of other models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.lora_files import draw_factors, write_lora
from tests.tiny.table import load_rows
from videogen import CheckpointError, Lora
from videogen.backbones.lora.cache import LayerWeights, WeightCache
from videogen.backbones.lora.keys import read_key
from videogen.backbones.lora.layer_names import LayerNames
from videogen.backbones.lora.lora_file import read_tensor_file
from videogen.backbones.lora.matching import Match, Target, match


@pytest.fixture(scope="module")
def model() -> nn.Module:
    found: nn.Module = load_rows()["WanPipeline"].build().transformer
    return found


def matched(path: Path, model: nn.Module) -> Match:
    return match(Lora(str(path)), path, read_tensor_file(str(path), "LoRA").shapes, Target({"transformer": model}, {}))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("transformer.blocks.0.attn1.to_q.lora_A.weight", ("denoiser", "blocks.0.attn1.to_q", "down", False)),
        ("transformer_2.blocks.0.ffn.net.2.lora_B.weight", ("second denoiser", "blocks.0.ffn.net.2", "up", False)),
        (
            "base_model.model.blocks.0.attn1.to_q.lora_A.default.weight",
            ("denoiser", "blocks.0.attn1.to_q", "down", False),
        ),
        ("lora_unet_blocks_0_self_attn_q.lora_down.weight", ("denoiser", "blocks_0_self_attn_q", "down", True)),
        ("lora_unet_blocks_0_self_attn_q.alpha", ("denoiser", "blocks_0_self_attn_q", "alpha", True)),
        ("lora_te_text_model_a.lora_up.weight", ("text_encoder", "text_model_a", "up", True)),
        ("diffusion_model.blocks.0.self_attn.q.diff_b", ("denoiser", "blocks.0.self_attn.q", "bias", False)),
        ("unet.a.attn1.processor.to_out_lora.up.weight", ("denoiser", "a.attn1.to_out.0", "up", False)),
        ("unet.a.attn1.to_q.lora.down.weight", ("denoiser", "a.attn1.to_q", "down", False)),
        ("blocks.0.norm.diff", None),
        ("something.weight", None),
    ],
)
def test_keys(key: str, expected: tuple[str, str, str, bool] | None) -> None:
    found = read_key(key)
    assert (None if found is None else (found.component, found.layer, found.part, found.flat)) == expected


def test_names_of_the_wan_repository() -> None:
    layers = {
        "condition_embedder.time_embedder.linear_1": "time_embedding.0", "proj_out": "head.head",
        "condition_embedder.text_embedder.linear_2": "text_embedding.2",
        "condition_embedder.time_proj": "time_projection.1", "blocks.3.attn2.add_k_proj": "blocks.3.cross_attn.k_img",
        "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
        "vace_blocks.1.proj_out": "vace_blocks.1.after_proj", "blocks.3.ffn.net.0.proj": "blocks.3.ffn.0",
    }  # fmt: skip
    names = LayerNames("WanTransformer3DModel", layers)
    for layer, theirs in layers.items():
        assert names.find(theirs) == layer and names.find(theirs.replace(".", "_"), flat=True) == layer
        assert names.find(layer) == layer
    assert names.find("blocks.9.self_attn.q") is None


def test_unknown_keys_are_counted_and_named(model: nn.Module, tmp_path: Path) -> None:
    more = {
        "diffusion_model.blocks.0.norm3.diff": torch.ones(3),
        "diffusion_model.blocks.9.self_attn.q.alpha": torch.ones(1),
    }
    path = write_lora(tmp_path / "a.safetensors", model, "ComfyUI", more=more)
    found = matched(path, model).to_dict()
    assert found["keys"] == {"used": 2 * len(draw_factors(model)), "unknown": 2}
    assert found["unknown_keys"] == [
        "diffusion_model.blocks.0.norm3.diff",
        "diffusion_model.blocks.9.self_attn.q.alpha",
    ]
    assert found["ranks"] == [2] and found["layout"] == "ComfyUI"


def test_a_matrix_without_its_other_is_unknown(model: nn.Module, tmp_path: Path) -> None:
    down = {"transformer.proj_out.lora_A.weight": torch.ones(2, 24)}
    found = matched(write_lora(tmp_path / "a.safetensors", model, more=down), model)
    assert found.unknown == ["transformer.proj_out.lora_A.weight"] and "proj_out" not in found.layers["transformer"]


def _other_size(model: Any) -> dict[str, Any]:
    return {name: (torch.ones(2, 2 * down.shape[1]), up) for name, (down, up) in draw_factors(model).items()}


def _ranks_differ(model: Any) -> dict[str, Any]:
    return {name: (torch.ones(3, down.shape[1]), up) for name, (down, up) in draw_factors(model).items()}


def _more_blocks(model: Any) -> dict[str, Any]:
    own = draw_factors(model)
    down, up = next(iter(own.values()))
    return own | {f"blocks.{n}.attn1.to_q": (down.clone(), up.clone()) for n in range(100, 200)}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        pytest.param(_other_size, r"takes \d+ values and .* are \[2, \d+\]", id="a larger model's"),
        pytest.param(_ranks_differ, "whose ranks differ; copy it again", id="ranks differ"),
        pytest.param(_more_blocks, r"200 of \d+ tensors.*it is a LoRA of another model", id="mostly other layers"),
        pytest.param(
            lambda model: {"single.0.linear": (torch.ones(2, 4), torch.ones(4, 2))},
            r"has no weights for a layer of this model's WanTransformer3DModel \(transformer.single.0",
            id="another model's",
        ),
    ],
)  # fmt: skip
def test_files_of_another_model_are_refused(build: Any, message: str, model: nn.Module, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors", model, factors=build(model))
    with pytest.raises(CheckpointError, match=message):
        matched(path, model)


@pytest.mark.parametrize(
    ("key", "kind"),
    [("dora_scale", "DoRA"), ("lokr_w1", "LoKr"), ("hada_w1_a", "LoHa"), ("lora_mid.weight", "Tucker")],
)
def test_other_kinds_of_adapters_are_refused(key: str, kind: str, model: nn.Module, tmp_path: Path) -> None:
    more = {f"transformer.blocks.0.attn1.to_q.{key}": torch.ones(2)}
    with pytest.raises(CheckpointError, match=f"is a .*{kind}.*use a plain LoRA"):
        matched(write_lora(tmp_path / "a.safetensors", model, more=more), model)


def test_the_cache_evicts_what_was_used_least_recently() -> None:
    def weights(count: int) -> Any:
        return {"a": {"b": LayerWeights(torch.zeros(1, count), torch.zeros(1, 1), 1.0, None)}}

    reads: list[str] = []

    def read(key: str) -> Any:
        reads.append(key)
        return weights(10)

    cache = WeightCache(limit_bytes=100)
    for key in ("x", "y", "x", "z", "x", "y"):
        cache.get(key, partial(read, key))
    assert reads == ["x", "y", "z", "y"] and len(cache) == 2
