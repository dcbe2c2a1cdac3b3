"""The engine's nodes: the same frames as the engine's own, checks before and within a run, previews, interruption."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.comfyui.engine_double import Controls, Interrupted, take_control
from tests.comfyui.hosts import Host
from videogen import Engine, Video
from videogen.cli.main import main
from videogen.comfyui.embedded.parts import EmbeddedVae
from videogen.comfyui.engine.graph import note_workflow
from videogen.comfyui.engine.memory import make_room
from videogen.comfyui.engine.requests import build_request
from videogen.comfyui.images import to_frames
from videogen.core.errors import InputError, UnsupportedError
from videogen.motion import Camera

PROMPT = "a red ball moves right on a black background"
SMALL: dict[str, Any] = {"width": 32, "height": 32, "length": 9, "steps": 2, "seed": 3, "previews": False}


@pytest.fixture
def nodes(comfy: Host) -> Any:
    return comfy.load_nodes("engine")


@pytest.fixture
def controls(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> Controls:
    return take_control(monkeypatch)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("embedded")


def render(nodes: Any, engine: Engine, **values: Any) -> Any:
    return nodes.Render.execute(engine, PROMPT, **(SMALL | values)).result


def validate(node: Any, **inputs: Any) -> Any:
    """The result of a node's checks in a queued workflow with a loader of the embedded model."""
    graph = {
        "1": {"class_type": "VideogenLoadModel", "inputs": {"model": "embedded"} | inputs.pop("loader", {})},
        "2": {"class_type": "any", "inputs": {"engine": ["1", 0], "prompt": PROMPT} | inputs},
    }
    note_workflow({"prompt": graph})
    node.hidden = SimpleNamespace(unique_id="1" if node.__name__ == "LoadModel" else "2")
    return node.validate_inputs()


@pytest.mark.parametrize(
    ("values", "options"),
    [
        pytest.param({}, {}, id="plain"),
        pytest.param(
            {"recall": 0.9}, {"attention": "adaptive", "recall": 0.9}, id="sparse attention", marks=pytest.mark.slow
        ),
        pytest.param({"propagation": "every:2"}, {"propagate": "every:2"}, id="propagation"),
        pytest.param({"preset": "exact", "guidance": 1.0}, {"guidance_scale": 1.0}, id="a preset and no guidance"),
    ],
)
def test_the_frames_are_the_engine_s(nodes: Any, engine: Engine, values: Any, options: Any) -> None:
    video, images, audio, latent, report, manifest = render(nodes, engine, **values)
    plain = engine.generate(PROMPT, size=(32, 32), frames=9, steps=2, seed=3, **options)
    assert np.array_equal(to_frames(images), plain.frames)
    assert np.array_equal((images * 255).byte().numpy(), plain.frames), "core's Save Video truncates"
    assert video.get_components().images is images and video.get_components().frame_rate == plain.fps
    assert audio is None and "seed 3" in report and json.loads(manifest)["request"]["seed"] == 3
    decoded = EmbeddedVae(engine.backbone, import_module("comfy.latent_formats").Wan21()).decode(latent["samples"])[0]
    assert (decoded - images).abs().max() <= 0.51 / 255, "the latents are those of the frames"


@pytest.mark.slow
def test_the_frames_are_those_of_the_command_line(nodes: Any, engine: Engine, tmp_path: Path) -> None:
    options = [
        "--size",
        "32x32",
        "--frames",
        "9",
        "--steps",
        "2",
        "--seed",
        "3",
        "--quiet",
        "-o",
        str(tmp_path / "out"),
    ]
    assert main(["render", PROMPT, *options]) == 0
    assert np.array_equal(to_frames(render(nodes, engine)[1]), Video.open(tmp_path / "out").frames)


@pytest.mark.slow
def test_a_motion_is_followed_from_a_first_frame(
    nodes: Any, engine: Engine, controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls.folders, "get_temp_directory", lambda: str(tmp_path))
    first = torch.zeros(1, 32, 32, 3)
    first[:, 8:16, 8:16, 0] = 1
    motion = Camera(pan=8)
    _, images, *_ = render(nodes, engine, motion=motion, first_frame=first)
    (file,) = tmp_path.glob("*.png")
    same = engine.generate(PROMPT, size=(32, 32), frames=9, steps=2, seed=3, motion=motion, first_frame=file)
    assert np.array_equal(to_frames(images), same.frames)
    assert not np.array_equal(to_frames(images), to_frames(render(nodes, engine)[1]))


def test_one_render_leaves_nothing_for_the_next(nodes: Any, engine: Engine) -> None:
    before = render(nodes, engine)[1]
    render(nodes, engine, recall=0.8, propagation="every:2", motion=Camera(pan=8), width=48)
    assert torch.equal(render(nodes, engine)[1], before)


def test_an_interruption_arrives_within_a_step_and_leaves_the_engine_as_it_was(
    nodes: Any, engine: Engine, controls: Controls
) -> None:
    interruption = controls.interruption
    before = render(nodes, engine, propagation="every:1")[1]
    count = interruption.checks
    blocks = len(engine.backbone.denoisers()[0].blocks)
    assert count > 2 * 2 * blocks, "each block of each of two calls in both steps"
    for fraction in (0.1, 0.5, 0.95):  # the text encoder, the denoiser, the VAE
        interruption.at = interruption.checks + int(fraction * count)
        with pytest.raises(Interrupted):
            render(nodes, engine, propagation="every:1", recall=0.9)
    assert torch.equal(render(nodes, engine)[1], before)
    assert not any(
        module._forward_pre_hooks for one in engine.backbone.components().values() for module in one.modules()
    )


def test_progress_shows_frames(nodes: Any, engine: Engine, controls: Controls) -> None:
    updates = controls.bars.updates
    engine._preview = lambda latents: np.zeros((3, 4, 4, 3), np.uint8)  # type: ignore[assignment]
    try:
        render(nodes, engine, previews=True)
    finally:
        engine._preview = None
    assert [update[:2] for update in updates] == [(0, 2), (1, 2), (2, 2)]
    kind, image, limit = updates[-1][2]
    assert kind == "JPEG" and min(image.size) >= 256 and limit is None


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({"width": 65}, "width=65 is not a multiple of 16 for 'embedded'", id="a size of another model"),
        pytest.param({"width": 65, "loader": {"model": ["9", 0]}}, None, id="the model is not known before the run"),
        pytest.param({"seed": -5}, None, id="out of range, which ComfyUI reports at that input"),
        pytest.param({"steps": "many"}, None, id="not a number, which ComfyUI reports at that input"),
        pytest.param({"solver": "magic"}, None, id="not one of the options, which ComfyUI reports at that input"),
        pytest.param({"guidance": float("nan")}, "guidance", id="NaN, which passes ComfyUI's ranges"),
        pytest.param({"propagation": "sometimes"}, "unknown propagation 'sometimes'", id="an unknown technique"),
        pytest.param({"prompt": ["9", 0], "width": 64}, None, id="a linked prompt"),
        pytest.param({"prompt": ""}, "the prompt is empty", id="no prompt"),
        pytest.param({"options": "[1]"}, "not a JSON object", id="options that are no object"),
        pytest.param({"options": "{"}, "is not JSON", id="options that are no JSON"),
        pytest.param({"first_frame": ["9", 0]}, "'embedded' takes a prompt alone", id="an image that it does not take"),
        pytest.param({"motion": ["9", 0], "width": 65}, "width=65 is not a multiple of 16", id="a size, with a motion"),
        pytest.param({"motion": ["9", 0], "motion_backend": "dual_clock"}, None, id="a motion is not known yet"),
        pytest.param({"motion": ["9", 0], "first_frame": ["9", 0]}, None, id="a first frame that is for the motion"),
    ],
)
def test_a_value_is_refused_before_the_run(nodes: Any, inputs: Any, message: str | None) -> None:
    found = validate(nodes.Render, **inputs)
    assert found is True if message is None else message in found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"guidance": float("nan")}, "guidance=nan must be a finite", id="NaN"),
        pytest.param({"length": -3}, "length=-3 must be", id="length"),
        pytest.param({"recall": 7.0}, "recall=7.0 must be", id="linked and out of range"),
        pytest.param({"width": -16}, "width=-16 must be above 0", id="a negative size"),
        pytest.param({"width": 40}, "width=40 is not a multiple of 16", id="a size of another model"),
    ],
)
def test_a_linked_value_is_refused_at_the_run(nodes: Any, engine: Engine, values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render(nodes, engine, **values)


def test_an_image_is_refused_by_a_model_that_takes_none(nodes: Any, engine: Engine) -> None:
    with pytest.raises(UnsupportedError, match="'embedded' takes a prompt alone"):
        render(nodes, engine, first_frame=torch.zeros(1, 32, 32, 3))


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        pytest.param({"path": "nonsense"}, "unknown model 'nonsense'", id="a name"),
        pytest.param({"memory": "lots"}, "memory='lots' is not a size", id="memory"),
        pytest.param({"memory": "12 potatoes"}, "memory='12 potatoes' is not a size", id="memory in another unit"),
        pytest.param({"device": "gpu"}, "unknown device 'gpu'", id="a device"),
        pytest.param({"device": "cuda:99"}, "device='cuda:99' is not available", id="a device that is not there"),
        pytest.param({"path": "owner/none"}, "turn on download", id="a hub model that is not on this machine"),
        pytest.param({"model": "diffusers/gone"}, "not in ComfyUI's folder", id="a folder that is gone"),
    ],
)
def test_a_model_is_refused_before_the_run(nodes: Any, loader: Any, message: str) -> None:
    assert message in validate(nodes.LoadModel, loader=loader)


def test_an_option_that_is_no_choice_is_reported_by_comfyui_alone(nodes: Any) -> None:
    assert validate(nodes.LoadModel, loader={"dtype": "int3"}) is True


@pytest.mark.parametrize("module", ["engine", "engine_edit", "engine_story"])
def test_checks_name_one_input_that_each_workflow_has(comfy: Host, module: str) -> None:
    """ComfyUI reports a message once for each input that `validate_inputs` names, if the workflow has it."""
    found = vars(comfy.load_nodes(module)).values()
    checked = [
        one for one in found if getattr(one, "__module__", "").endswith(module) and "validate_inputs" in vars(one)
    ]
    assert checked
    for node in checked:
        (name,) = inspect.signature(node.validate_inputs).parameters
        declared = next(one for one in node.define_schema().inputs if one.id == name)
        assert not getattr(declared, "optional", False), node


def test_a_folder_of_comfyui_is_loaded_and_watched(
    nodes: Any, controls: Controls, tmp_path: Path, copy_model: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_model(tmp_path / "mine")
    monkeypatch.setattr(controls.folders, "get_folder_paths", lambda _: [str(tmp_path)])
    schema = nodes.LoadModel.define_schema()
    assert "diffusers/mine" in schema.inputs[0].options
    before = nodes.LoadModel.fingerprint_inputs(model="diffusers/mine", path="")
    assert validate(nodes.LoadModel, loader={"model": "diffusers/mine"}) is True
    (folder / "defaults.json").write_text("{}")
    assert nodes.LoadModel.fingerprint_inputs(model="diffusers/mine", path="") != before
    assert nodes.LoadModel.fingerprint_inputs(model="embedded", path="") == ""


def test_a_lora_is_found_in_comfyui_s_folder(nodes: Any, controls: Controls, monkeypatch: pytest.MonkeyPatch) -> None:
    where = str(Path.cwd() / "loras" / "style.safetensors")
    found = {"style.safetensors": where}
    monkeypatch.setattr(controls.folders, "get_full_path", lambda kind, name: found.get(name))
    loras = build_request({"prompt": PROMPT, "loras": "style.safetensors:0.5\n\nother.safetensors"}).given_loras
    assert [(Path(one.file).parent.name, one.weight) for one in loras] == [("loras", 0.5), (Path.cwd().name, 1.0)]


def test_on_a_gpu_comfyui_s_models_make_room(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    management, calls = import_module("comfy.model_management"), []
    for name in ("unload_all_models", "soft_empty_cache"):
        monkeypatch.setattr(management, name, lambda name=name: calls.append(name), raising=False)
    make_room(torch.device("cpu"))
    assert not calls
    make_room(torch.device("cuda"))
    assert calls == ["unload_all_models", "soft_empty_cache"]


def test_comfyui_s_models_make_room_before_a_model_is_loaded(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    management, calls = import_module("comfy.model_management"), []
    for name in ("unload_all_models", "soft_empty_cache"):
        monkeypatch.setattr(management, name, lambda name=name: calls.append(name), raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(Engine, "load", lambda name, **_: calls.append(name))
    nodes.LoadModel.execute("embedded")
    assert calls == ["unload_all_models", "soft_empty_cache", "embedded"]
    nodes.LoadModel.execute("embedded", device="cpu")
    assert calls[3:] == ["embedded"]


def test_the_vae_takes_clips_on_another_device(nodes: Any) -> None:
    meta, taken = torch.device("meta"), []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        taken.append(tensor.device)
        return tensor

    geometry = SimpleNamespace(channels=16, temporal=4, spatial=8)
    vae = EmbeddedVae(
        SimpleNamespace(device=meta, geometry=geometry, decode=note, encode=note),  # type: ignore[arg-type]
        SimpleNamespace(process_in=lambda latents: latents, process_out=lambda latents: latents),
    )
    vae.decode(torch.zeros(1, 16, 1, 2, 2))
    vae.encode(torch.zeros(1, 16, 16, 3))
    assert taken == [meta, meta]


def test_weights_are_ordinary_tensors(nodes: Any) -> None:
    with torch.inference_mode():  # as ComfyUI runs nodes
        (loaded,) = nodes.LoadModel.execute("embedded").result
    assert not any(weight.is_inference() for weight in loaded.backbone.denoisers()[0].parameters())


def test_a_missing_package_is_named(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "videogen.engine.engine", None)
    with pytest.raises(ImportError, match=r"run `pip install -r requirements\.txt` with the Python that runs ComfyUI"):
        nodes.LoadModel.execute("embedded")


@pytest.fixture
def copy_model() -> Callable[[Path], Path]:
    """Copies the embedded model's configuration, without its weights."""
    from videogen.backbones.checkpoints.location import EMBEDDED

    def copy(target: Path) -> Path:
        for file in EMBEDDED["embedded"].rglob("*.json"):
            place = target / file.relative_to(EMBEDDED["embedded"])
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
        return target

    return copy
