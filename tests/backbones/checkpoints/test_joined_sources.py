"""Components from other folders and files: joined, they give the frames of the pipeline that they are of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videogen.backbones.checkpoints.header import read_header
from videogen.backbones.checkpoints.motion_adapter import read_adapter_config
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.registry import load_outline, read_model
from videogen.cli.main import main
from videogen.core.errors import CheckpointError, InputError
from videogen.engine.engine import Engine
from videogen.media.metadata import read_manifest
from videogen.media.reader import read_video
from videogen.request.request import RenderRequest

from .files import adapter_to_original, save, weights_of
from .test_single_files import WAN_CLIP, check_equal, frames_of, tensors_of

MOTION_CLIP: dict[str, Any] = {"frames": 4, "width": 32, "height": 32, "steps": 2}


def copy(folder: Path, target: Path, *without: str) -> Path:
    """A copy of a checkpoint, without the weights of some components."""
    shutil.copytree(folder, target)
    for name in without:
        for path in (target / name).glob("*.safetensors"):
            path.unlink()
    return target


def test_joined_components_are_those_of_the_folder(wan: Path, tmp_path: Path) -> None:
    base = copy(wan, tmp_path / "base", "transformer", "vae", "text_encoder")
    transformer = save(weights_of(wan, "transformer"), tmp_path / "transformer.safetensors")
    engine = Engine.load(base, device="cpu", transformer=transformer, vae=wan / "vae", text_encoder=wan)
    wanted = Engine.load(wan, device="cpu")
    for component in ("transformer", "vae", "text_encoder"):
        check_equal(tensors_of(engine, component), tensors_of(wanted, component))
    assert engine.backbone.sources == {
        "transformer": str(transformer), "vae": str(wan / "vae"), "text_encoder": str(wan)
    }  # fmt: skip


def build_by_hand(stable_diffusion: Path, adapter: Path) -> Any:
    """The pipeline as the library's guide joins it."""
    import diffusers

    scheduler = diffusers.DDIMScheduler.from_pretrained(
        stable_diffusion, subfolder="scheduler", clip_sample=False, timestep_spacing="linspace",
        beta_schedule="linear", steps_offset=1,
    )  # fmt: skip
    return diffusers.AnimateDiffPipeline.from_pretrained(
        stable_diffusion, motion_adapter=diffusers.MotionAdapter.from_pretrained(adapter), scheduler=scheduler
    )


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_motion_adapter_joins_an_image_model(
    form: str, stable_diffusion: Path, adapter: Path, tmp_path: Path
) -> None:
    tensors = adapter_to_original(weights_of(adapter.parent, adapter.name))
    source = adapter if form == "folder" else save(tensors, tmp_path / "motion.safetensors")
    engine = Engine.load(stable_diffusion, device="cpu", motion_adapter=source)
    wanted = Engine.from_pipeline(build_by_hand(stable_diffusion, adapter))
    for component in ("unet", "vae", "text_encoder"):
        check_equal(tensors_of(engine, component), tensors_of(wanted, component))
    found, expected = (dict(one.backbone.scheduler.config) for one in (engine, wanted))
    assert found == expected and type(engine.backbone.scheduler) is type(wanted.backbone.scheduler)


@pytest.mark.slow
def test_joined_components_give_the_folders_frames(wan: Path) -> None:
    parts: dict[str, Any] = dict.fromkeys(("transformer", "vae", "text_encoder"), wan)
    engine, clip = Engine.load(wan, device="cpu", **parts), {**WAN_CLIP, "frames": 5}
    assert np.array_equal(frames_of(engine, clip), frames_of(Engine.load(wan, device="cpu"), clip))


@pytest.mark.slow
def test_a_joined_motion_adapter_gives_the_frames_of_the_library(stable_diffusion: Path, adapter: Path) -> None:
    wanted = frames_of(Engine.from_pipeline(build_by_hand(stable_diffusion, adapter)), MOTION_CLIP)
    engine = Engine.load(stable_diffusion, device="cpu", motion_adapter=adapter)
    assert np.array_equal(frames_of(engine, MOTION_CLIP), wanted)


def test_the_adapter_s_configuration_is_that_of_its_tensors(adapter: Path, tmp_path: Path) -> None:
    path = save(adapter_to_original(weights_of(adapter.parent, adapter.name)), tmp_path / "motion.safetensors")
    stored = json.loads((adapter / "config.json").read_text())
    found = read_adapter_config(read_header(path))
    assert {name: found[name] for name in stored.keys() & found.keys()} == {
        name: stored[name] for name in stored.keys() & found.keys()
    }
    assert len(stored.keys() & found.keys()) >= 8


def test_a_joined_model_is_described_before_it_is_loaded(stable_diffusion: Path, adapter: Path) -> None:
    options = LoadOptions(motion_adapter=str(adapter), device="cpu")
    outline, configured = load_outline(str(stable_diffusion), options), read_model(str(stable_diffusion), options)
    model = Engine.load(stable_diffusion, device="cpu", motion_adapter=adapter).backbone
    for described in (outline, configured):
        assert described is not None
        for fact in ("defaults", "geometry", "limits", "sources", "name"):
            assert getattr(described, fact) == getattr(model, fact)
        assert described.noise_schedule.kind == model.noise_schedule.kind


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"motion_adapter": "wan"}, r"has neither config\.json nor motion_adapter/config\.json", id="a folder"
        ),
        pytest.param(
            {"transformer": "wan"}, r"StableDiffusionPipeline has no transformer; its components", id="unknown"
        ),
    ],
)
def test_parts_that_do_not_fit_the_pipeline_are_refused(
    change: dict[str, str], message: str, wan: Path, stable_diffusion: Path
) -> None:
    given: dict[str, Any] = {name: wan for name in change}
    with pytest.raises((InputError, CheckpointError), match=message):
        Engine.load(stable_diffusion, **given)


def test_a_model_that_takes_no_motion_is_named(wan: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a WanPipeline; adapters are for StableDiffusionPipeline"):
        Engine.load(wan, motion_adapter=adapter)
    with pytest.raises(InputError, match="has motion modules already"):
        Engine.load("embedded-unet", motion_adapter=adapter)


def test_an_adapter_of_another_model_is_refused(stable_diffusion: Path, adapter: Path, tmp_path: Path) -> None:
    tensors = adapter_to_original(weights_of(adapter.parent, adapter.name))
    path = save({k: v for k, v in tensors.items() if "down_blocks.1" not in k}, tmp_path / "motion.safetensors")
    with pytest.raises(CheckpointError, match=r"motion\.safetensors|different number"):
        Engine.load(stable_diffusion, motion_adapter=path)


def test_the_digest_covers_every_source(wan: Path, tmp_path: Path) -> None:
    def digest(**parts: Any) -> str:
        return Engine.load(wan, device="cpu", **parts).backbone.digest

    tensors = weights_of(wan, "vae")
    one, same = (save(tensors, tmp_path / f"{name}.safetensors") for name in ("one", "same"))
    other = save({name: tensor * 1.01 for name, tensor in tensors.items()}, tmp_path / "other.safetensors")
    assert digest(vae=one) == digest(vae=same) != digest(vae=other)
    assert digest(vae=one) != digest()


def test_what_macos_leaves_changes_nothing(wan: Path, tmp_path: Path) -> None:
    folder = copy(wan, tmp_path / "model")
    before = Engine.load(folder, device="cpu")
    for name in ("._model_index.json", "transformer/._config.json", "vae/.DS_Store", "__MACOSX/._a.safetensors",
                 "transformer/._diffusion_pytorch_model.safetensors", "vae/._x.bin"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\x00\x05\x16\x07")
    after = Engine.load(folder, device="cpu")
    assert after.backbone.digest == before.backbone.digest
    check_equal(tensors_of(after), tensors_of(before))


def test_a_link_out_of_the_folder_is_refused(wan: Path, tmp_path: Path) -> None:
    folder = copy(wan, tmp_path / "model", "vae")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").symlink_to(
        wan / "vae" / "diffusion_pytorch_model.safetensors"
    )
    with pytest.raises(CheckpointError, match="is a link out of the checkpoint"):
        Engine.load(folder)


def test_a_class_of_a_checkpoints_own_is_refused(wan: Path, tmp_path: Path) -> None:
    folder = copy(wan, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"vae": ["my_vae", "MyVAE"]}))
    with pytest.raises(
        CheckpointError, match="its vae is a 'MyVAE' of 'my_vae', which is code of its own and never run"
    ):
        Engine.load(folder)


def test_a_render_is_repeated_from_its_sources(ltx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vae = save(weights_of(ltx, "vae"), tmp_path / "vae.safetensors")
    transformer = save(weights_of(ltx, "transformer"), tmp_path / "ltx.safetensors")
    first, again = tmp_path / "first.mp4", tmp_path / "again.mp4"
    flags = ["--base", str(ltx), "--vae", str(vae), "--frames", "9", "--size", "64x32", "--steps", "2", "--quiet"]
    assert main(["render", "a red ball", "--model", str(transformer), *flags, "-o", str(first)]) == 0
    assert main(["render", "--like", str(first), "-o", str(again), "--quiet"]) == 0
    assert np.array_equal(read_video(first).frames, read_video(again).frames)
    manifest = read_manifest(again)
    assert manifest is not None
    assert {name: manifest["request"][name] for name in ("model", "base", "vae")} == {
        "model": str(transformer), "base": str(ltx), "vae": str(vae)
    }  # fmt: skip
    assert Engine.load_like(first).backbone.sources == {"base": str(ltx), "vae": str(vae)}
    capsys.readouterr()
    save({name: tensor * 1.01 for name, tensor in weights_of(ltx, "vae").items()}, vae)
    assert main(["render", "--like", str(first), "-o", str(tmp_path / "changed.mp4")]) == 2
    assert "has other weights than when" in capsys.readouterr().err


def test_a_request_for_other_sources_is_refused(wan: Path) -> None:
    engine = Engine.load(wan, device="cpu", vae=wan / "vae")
    same: list[dict[str, Any]] = [{}, {"vae": wan / "vae"}]
    for given in same:
        request = RenderRequest("a red ball", **given, **WAN_CLIP)
        assert request.resolve(engine.backbone).to_dict()["vae"] == str(wan / "vae")
    others: list[dict[str, Any]] = [{"vae": str(wan)}, {"text_encoder": str(wan)}]
    for other in others:
        with pytest.raises(InputError, match=r"the request is for \w+=.*, but this engine has \w+="):
            RenderRequest("a red ball", **other, **WAN_CLIP).resolve(engine.backbone)


def test_files_of_a_configuration_are_relative_to_it(wan: Path, tmp_path: Path) -> None:
    from videogen.cli.settings import _read_config

    save({"a": torch.zeros(1)}, tmp_path / "vae.safetensors")
    (tmp_path / "ball.toml").write_text('prompt = "a red ball"\nvae = "vae.safetensors"\nbase = "some/one"\n')
    values = _read_config(tmp_path / "ball.toml")
    assert (values["vae"], values["base"]) == (str(tmp_path / "vae.safetensors"), "some/one")


def test_a_file_is_described(wan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in weights_of(wan, "transformer").items()}
    path = save(tensors, tmp_path / "wan.safetensors")
    assert main(["models", str(path), "--base", str(wan), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["contains"] == ["denoiser (model.diffusion_model.*)"] and facts["format"] == "safetensors"
    assert (facts["tensors"], facts["dtypes"]) == (69, {"F32": 69})
    assert (facts["family"], facts["base"], facts["model"]) == ("wan", str(wan), str(path))
    assert main(["models", str(path)]) == 0
    assert "does not state of which model it is" in capsys.readouterr().out


def test_sources_need_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--vae", "x"]) == 2
    assert "--vae x has no effect without a model" in capsys.readouterr().err


def test_one_file_of_stable_diffusion_with_its_adapter(stable_diffusion: Path, adapter: Path, tmp_path: Path) -> None:
    prefixes = {
        "unet": "model.diffusion_model.", "vae": "first_stage_model.",
        "text_encoder": "cond_stage_model.transformer.text_model.",
    }  # fmt: skip
    tensors = {
        f"{prefix}{name}": tensor * 0.5
        for component, prefix in prefixes.items()
        for name, tensor in weights_of(stable_diffusion, component).items()
    }
    path = save(tensors, tmp_path / "sd15.safetensors")
    engine = Engine.load(path, base=stable_diffusion, motion_adapter=adapter, device="cpu")
    for component, prefix in prefixes.items():
        found = tensors_of(engine, component)
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        assert own and all(torch.equal(found[name], tensor) for name, tensor in own.items())


def test_a_render_of_a_file_is_planned(wan: Path, tmp_path: Path) -> None:
    from videogen.planning.plan import plan_render

    path = save(weights_of(wan, "transformer"), tmp_path / "wan.safetensors")
    forms: list[dict[str, Any]] = [{"model": str(wan)}, {"model": str(path), "base": wan}]
    plans = [
        plan_render(RenderRequest("a red ball", device="cpu", **form, **WAN_CLIP), calibrate=False) for form in forms
    ]
    assert plans[0].weights == plans[1].weights and plans[0].chosen == plans[1].chosen
