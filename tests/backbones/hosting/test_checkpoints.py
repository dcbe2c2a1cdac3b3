"""Checkpoints of hosted classes: outlines, loading, missing weights, packages and code of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from tests.tiny import parts
from tests.tiny.table import TinyCall, load_rows
from videogen.backbones.hosting import library_version
from videogen.backbones.registry import load_outline
from videogen.cli.main import main
from videogen.core.errors import CheckpointError, InputError, UnsupportedError, VideogenError
from videogen.engine.engine import Engine

from .cases import request_options

ROWS = load_rows()
NAMES = [
    "LTXPipeline",
    "CogVideoXPipeline",
    "StableVideoDiffusionPipeline",  # its products of broadcast tensors round as weights with gradients have them do
    pytest.param("LTX2Pipeline", marks=pytest.mark.slow),
    pytest.param("WanImageToVideoPipeline", marks=pytest.mark.slow),
]


def build_tiled_vae() -> Any:
    """Allegro's VAE as a checkpoint has it: tiles of 24 frames and 128 px, which no file states."""
    from diffusers import AutoencoderKLAllegro

    parts.seed()
    return AutoencoderKLAllegro(
        block_out_channels=(4,) * 4, layers_per_block=1, norm_num_groups=2, sample_size=128
    ).eval()


def saved(name: str, folder: Path) -> Path:
    ROWS[name].build().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_gives_the_frames_of_the_pipeline_in_memory(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    frames, width, height = row.sizes[0]
    options = request_options(row, TinyCall(frames, width, height))
    loaded = Engine.load(saved(name, tmp_path)).generate("a red ball", noise="diffusers", **options)
    wrapped = Engine.from_pipeline(row.build()).generate("a red ball", noise="diffusers", **options)
    assert np.array_equal(loaded.frames, wrapped.frames)


def test_a_vae_that_only_works_in_tiles_is_set_to_them(tmp_path: Path) -> None:
    pipeline = ROWS["AllegroPipeline"].build()
    pipeline.register_modules(vae=build_tiled_vae())
    pipeline.save_pretrained(tmp_path)
    engine = Engine.load(tmp_path)
    options: dict[str, Any] = {"frames": 24, "size": (128, 128), "steps": 1, "solver": "euler"}
    video = engine.generate("a red ball", **options, vae_tiling=True)
    assert video.frames.shape == (24, 128, 128, 3)
    again = engine.generate(["a red ball", "a blue ball"], **options)  # tiles take one clip at a time
    assert [clip.frames.shape for clip in again] == [video.frames.shape] * 2 and engine.backbone.pipeline.vae.use_tiling


def test_a_vae_with_latents_of_another_size_than_the_pipeline_prepares_is_refused(tmp_path: Path) -> None:
    pipeline = ROWS["WanVideoToVideoPipeline"].build()
    pipeline.register_modules(vae=parts.wan_vae_22())
    with pytest.raises(UnsupportedError, match=r"prepares latents of 8 px, but the VAE of .* has 16 px per latent"):
        Engine.from_pipeline(pipeline)
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedError, match="prepares latents of 8 px"):
        load_outline(str(tmp_path))


def test_tiles_are_refused_before_a_step_where_the_vae_has_none() -> None:
    engine = Engine.from_pipeline(ROWS["StableVideoDiffusionPipeline"].build())
    with pytest.raises(UnsupportedError, match="cannot decode in tiles"):
        engine.generate("", image=parts.image(32, 32), frames=3, size=(32, 32), steps=1, vae_tiling=True)


@pytest.mark.parametrize("name", NAMES)
def test_an_outline_has_the_facts_of_the_loaded_model(name: str, tmp_path: Path) -> None:
    outline, model = load_outline(str(saved(name, tmp_path))), Engine.load(tmp_path).backbone
    assert outline is not None
    for fact in ("defaults", "geometry", "limits", "accepts", "needs"):
        assert getattr(outline, fact) == getattr(model, fact)


@pytest.mark.parametrize(("installed", "has"), [("0.41.0", False), ("0.42.1", True), ("1.0.0.dev0", True)])
def test_classes_of_a_later_diffusers_name_it(
    installed: str, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_version, "version", lambda _: installed)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "SanaWMPipeline"}), encoding="utf-8")
    with pytest.raises(VideogenError) as refused:
        Engine.load(tmp_path)
    assert (f"has since 0.42; {installed} is installed: pip install" in str(refused.value)) is not has


def test_a_modular_folder_states_its_inputs_before_its_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, video = tmp_path / "model", tmp_path / "a.mp4"
    ROWS["WanImage2VideoModularPipeline"].build().save_pretrained(str(folder), overwrite_modular_index=True)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    assert main(["models", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["inputs"], facts["needs"]) == (["image"], ["image"])  # its model reads one image
    assert (facts["frame_rule"], facts["tokenizers"], facts["prompt_tokens"]) == ("4k+1", {"tokenizer": 16}, 512)
    assert main(["render", "a red ball", "--model", str(folder), "-o", str(video)]) == InputError.exit_code
    assert "needs image; give it with --image FILE" in capsys.readouterr().err


@pytest.mark.parametrize("component", ["connectors", "vocoder"])
@pytest.mark.parametrize("entire", [True, False], ids=["file", "tensor"])
def test_missing_weights_of_the_librarys_own_components_are_named(component: str, entire: bool, tmp_path: Path) -> None:
    """Components under the pipeline's own library name (`ltx2`) in model_index.json."""
    folder = saved("LTX2Pipeline", tmp_path)
    (weights,) = (folder / component).glob("*.safetensors")
    if entire:
        weights.unlink()
    else:
        tensors = load_file(weights)
        tensors.pop(sorted(tensors)[-1])
        save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"{component} has no"):
        Engine.load(folder)


def test_a_model_without_the_image_that_it_needs_is_refused_before_its_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved("WanImageToVideoPipeline", tmp_path / "model")
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    assert main(["render", "a red ball", "--model", str(folder), "-o", str(tmp_path / "a.mp4")]) == InputError.exit_code
    assert "needs image; give it with --image FILE" in capsys.readouterr().err


def index(folder: Path, class_name: Any) -> Path:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": class_name}))
    return folder


def test_packages_that_a_pipeline_needs_are_named_before_loading(tmp_path: Path) -> None:
    for act in (load_outline, Engine.load):
        with pytest.raises(UnsupportedError, match=r"needs the model's safety checker.*install cosmos_guardrail"):
            act(str(index(tmp_path, "CosmosTextToWorldPipeline")))


def test_code_that_a_checkpoint_brings_is_never_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="code of its own, which is never run"):
        load_outline(str(index(tmp_path, ["my_pipeline", "MyPipeline"])))


def test_a_models_facts_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", str(saved("LTXPipeline", tmp_path)), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["size"], facts["frame_rule"], facts["size_multiple"]) == (161, "704x512", "8k+1", 32)
    assert "decode_timestep" in facts["options"] and facts["solver"] == "FlowMatchEulerDiscreteScheduler"
