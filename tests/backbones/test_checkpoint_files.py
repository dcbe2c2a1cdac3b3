"""Files of a checkpoint folder: what is damaged or missing is named before anything is loaded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.contract.families import wan
from videogen.backbones.checkpoint_files import check_files, check_weights, weight_variant
from videogen.backbones.checkpoints.sources import ModelSources
from videogen.backbones.hub import files_of
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.loading import _component, _model_class, build_pipeline
from videogen.backbones.registry import components_of, find_sources, load, read_index
from videogen.core.errors import CheckpointError

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with one component of one tensor."""
    (tmp_path / "transformer").mkdir()
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "WanPipeline", "transformer": ["diffusers", "X"], "vae": [None, None]})
    )
    (tmp_path / "transformer" / "config.json").write_text("{}")
    save_file({"a": torch.zeros(64)}, tmp_path / WEIGHTS)
    return tmp_path


def check(folder: Path) -> None:
    check_files(folder, components_of(read_index(folder)))


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])


def shard(folder: Path) -> None:
    """Two shards in the index, one of them on disk."""
    names = {f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    (folder / WEIGHTS).rename(folder / "transformer" / min(names))
    (folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {name: name for name in names}})
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(truncate, r"model\.safetensors cannot be loaded: it has \d+ of its \d+ bytes", id="truncated"),
        pytest.param(lambda f: (f / WEIGHTS).write_bytes(b""), "has no safetensors header", id="empty weights"),
        pytest.param(lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 99), "no safetensors header", id="not safetensors"),
        pytest.param(shard, r"has 1 of 2 weight files; .*-00002-of-00002\.safetensors is missing", id="no shard"),
        pytest.param(
            lambda f: (f / "transformer" / "config.json").write_text("{"), r"config\.json cannot be read", id="a config"
        ),
        pytest.param(
            lambda f: (f / "transformer" / "config.json").write_text("[" * 100_000), r"config\.json cannot be read",
            id="a config nested without end",
        ),
        pytest.param(lambda f: (f / "transformer").rename(f / "x"), "has no 'transformer'", id="a component is gone"),
        pytest.param(
            lambda f: (f / WEIGHTS).rename((f / WEIGHTS).with_suffix(".bin")), "is pickled", id="pickled weights"
        ),
    ],
)  # fmt: skip
def test_damage_is_named(damage: Callable[[Path], object], message: str, folder: Path) -> None:
    check(folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        check(folder)


@pytest.mark.parametrize(
    ("names", "dtype", "variant"),
    [
        (["model.safetensors", "model.fp16.safetensors"], "float16", None),
        (["model.fp16.safetensors"], "float32", "fp16"),
        (["diffusion_pytorch_model.fp16-00001-of-00002.safetensors"], "bfloat16", "fp16"),
        (["diffusion_pytorch_model-00001-of-00002.fp16.safetensors"], "bfloat16", "fp16"),
        (["model.fp16.safetensors", "model.bf16.safetensors"], "bfloat16", "bf16"),
        (["model.fp16.safetensors", "model.fp32.safetensors"], "float32", "fp32"),
        (["model.ema.safetensors", "other.fp16.safetensors"], "float16", "ema"),
        ([], "float16", None),
    ],
    ids=["without a variant first", "the only one", "shards", "shards, older name", "nearest", "exact", "any", "none"],
)
def test_the_variant_of_the_weights_is_found(names: list[str], dtype: str, variant: str | None) -> None:
    assert weight_variant(names, getattr(torch, dtype), "vae") == variant


def test_several_unknown_variants_are_named() -> None:
    with pytest.raises(CheckpointError, match="vae has weights of the variants ema, non_ema and none without"):
        weight_variant(["model.ema.safetensors", "model.non_ema.safetensors"], torch.float16, "vae")


def test_weights_of_a_variant_alone_are_loaded(tmp_path: Path) -> None:
    wan(tmp_path)
    plain = load(str(tmp_path), LoadOptions(device="cpu")).denoisers()[0].state_dict()
    for path in [*tmp_path.rglob("model.safetensors"), *tmp_path.rglob("diffusion_pytorch_model.safetensors")]:
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    found = load(str(tmp_path), LoadOptions(device="cpu")).denoisers()[0].state_dict()
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    weights = tmp_path / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"fp16\.safetensors cannot be loaded: it has"):
        load(str(tmp_path), LoadOptions(device="cpu"))


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of some/one in a local hub cache: a tiny model whose weights are all of the variant fp16."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--some--one", "a" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    wan(folder)
    for path in [*folder.rglob("model.safetensors"), *folder.rglob("diffusion_pytorch_model.safetensors")]:
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    return folder


def test_a_variant_alone_is_loaded_by_hub_id(snapshot: Path) -> None:
    found, folder = load("some/one", LoadOptions(device="cpu")), load(str(snapshot), LoadOptions(device="cpu"))
    plain = folder.denoisers()[0].state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in found.denoisers()[0].state_dict().items())
    assert found.digest == folder.digest != "unknown"


def test_the_hub_s_list_of_files_comes_before_the_cache_s(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "vae/diffusion_pytorch_model.fp16.safetensors" in files_of("some/one")
    siblings = [SimpleNamespace(rfilename=name) for name in ("model_index.json", "vae/model.safetensors")]
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(siblings=siblings))
    assert files_of("some/one") == ["model_index.json", "vae/model.safetensors"]
    assert files_of(snapshot) != files_of("some/one")


def test_a_repository_that_is_nowhere_has_no_files(snapshot: Path) -> None:
    assert files_of("some/other") == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"vae has no diffusion_pytorch_model\.safetensors, which AutoencoderKLWan loads; copy it again"),
        (["wan_vae.safetensors"], r"vae has wan_vae\.safetensors, but no diffusion_pytorch_model\.safetensors"),
        (["model.safetensors"], r"vae has model\.safetensors, but no diffusion_pytorch_model\.safetensors"),
        (["diffusion_pytorch_model.fp16-00001-of-00002.safetensors"], r"has 1 weight files, but no .*index\.json"),
        (["diffusion_pytorch_model.safetensors"], ""),
        (["diffusion_pytorch_model.fp16.safetensors"], ""),
        (["diffusion_pytorch_model-00001-of-00001.safetensors", "diffusion_pytorch_model.safetensors.index.json"], ""),
        (["diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
          "diffusion_pytorch_model.fp16.safetensors.index.json"], ""),
        (["diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
          "diffusion_pytorch_model.safetensors.index.fp16.json"], ""),
    ],
    ids=["none", "another name", "of the other library", "shards without index", "plain", "variant", "shards",
         "variant shards", "variant shards, transformers"],
)  # fmt: skip
def test_a_component_without_weights_that_are_loaded_is_named(names: list[str], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "vae"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    with pytest.raises(CheckpointError, match=message) if message else nullcontext():
        check_weights(folder, "diffusion_pytorch_model", "AutoencoderKLWan")


def sources_of(folder: Path) -> ModelSources:
    sources = find_sources(str(folder), LoadOptions(), online=False)
    assert sources is not None
    return sources


def test_weights_are_missed_before_any_are_loaded(tmp_path: Path) -> None:
    wan(tmp_path)
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"vae has no diffusion_pytorch_model\.safetensors"):
        build_pipeline("WanPipeline", sources_of(tmp_path), None, "cpu")


def test_a_missing_shard_of_a_variant_is_named(folder: Path) -> None:
    part = folder / "transformer"
    (part / "diffusion_pytorch_model.safetensors.index.fp16.json").write_text(
        '{"weight_map": {"x": "gone.safetensors"}}'
    )
    with pytest.raises(CheckpointError, match=r"has 0 of 1 weight files; gone\.safetensors is missing"):
        check(folder)


@pytest.mark.parametrize("library", ["ltx2", "diffusers.pipelines.ltx2"])
def test_missing_weights_of_a_pipelines_own_class_are_named(library: str, tmp_path: Path) -> None:
    from diffusers.pipelines.ltx2 import LTX2Vocoder

    model = LTX2Vocoder(
        in_channels=4, hidden_channels=8, out_channels=1, upsample_kernel_sizes=[4], upsample_factors=[2],
        resnet_kernel_sizes=[3], resnet_dilations=[[1]],
    )  # fmt: skip
    model.save_pretrained(tmp_path / "vocoder")
    model_class, files = _model_class(library, "LTX2Vocoder"), files_of(tmp_path)
    assert _component(tmp_path, "vocoder", model_class, torch.float32, files) is not None
    weights = tmp_path / "vocoder" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(weights).items() if name != "conv_in.bias"}, weights)
    with pytest.raises(CheckpointError, match=r"vocoder has no weights for conv_in\.bias; LTX2Vocoder needs them"):
        _component(tmp_path, "vocoder", model_class, torch.float32, files)


def test_files_that_no_loader_reads_may_be_anything(folder: Path) -> None:
    (folder / "transformer" / "diffusion_pytorch_model.old.safetensors").write_bytes(b"x")
    check(folder)
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.safetensors"):
        check(folder)


def test_loading_emits_no_deprecation_warning_and_names_the_component_that_fails(tmp_path: Path) -> None:
    wan(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        load(str(tmp_path), LoadOptions(device="cpu"))
    config = tmp_path / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_dim": "wide"}))
    with pytest.raises(CheckpointError, match=r"vae cannot be loaded as AutoencoderKLWan"):
        load(str(tmp_path), LoadOptions(device="cpu"))
