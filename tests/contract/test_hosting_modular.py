"""The host of modular pipelines: bit for bit the library's own call, and each step at any time."""

from __future__ import annotations

import inspect
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.contract.hosting import (
    SEED,
    assert_equal,
    assert_same_call,
    build,
    class_of,
    context,
    engine_of,
    first_call,
    hosted_rows,
    initial_latents,
    open_clip,
    pipeline_row,
    request_of,
    run_hosted,
    run_pipeline,
)  # fmt: skip
from tests.tiny.modular import UNAVAILABLE
from tests.tiny.table import PROMPT, Tiny, TinyCall, load_rows
from videogen import CheckpointError, Engine, InputError, UnsupportedError
from videogen.backbones.hosting.modular_loop import find_block_forms, first_block_form
from videogen.backbones.hosting.modular_pipelines import MODULAR_NOT_HOSTED, MODULAR_PIPELINES
from videogen.backbones.hosting.outputs import read_outputs
from videogen.backbones.hosting.pipeline_row import SESSION

ROWS = hosted_rows(MODULAR_PIPELINES)
SESSIONS = [one for one in ROWS if pipeline_row(one.values[0]).mode == SESSION]
_VIDEO = ("cosmos", "echo", "helios", "hunyuan_video", "ltx", "minimax_h3", "wan")
REPRESENTATIVE = load_rows()["WanModularPipeline"]
#: their first latent frame is the image
FIRST_GIVEN = ("LTXModularPipeline:image", "LTX2ModularPipeline:image", "LTX2ModularPipeline:keyframes",
               "LTX25ModularPipeline:image", "EchoModularPipeline:image",
               "EchoModularPipeline:references")  # fmt: skip
#: Modular pipeline -> the standard one of the same components, and how far its frames may be from it (docs/guide).
STANDARD = {
    "WanModularPipeline": ("WanPipeline", 0.0),
    "WanImage2VideoModularPipeline": ("WanImageToVideoPipeline", 0.0),
    "Wan22ModularPipeline": ("WanPipeline", 0.0),
    "Wan22Image2VideoModularPipeline": ("WanImageToVideoPipeline", 0.0),
    "HunyuanVideo15ModularPipeline": ("HunyuanVideo15Pipeline", 0.0),
    "HunyuanVideo15ModularPipeline:image": ("HunyuanVideo15ImageToVideoPipeline", 0.2),
    "LTXModularPipeline": ("LTXPipeline", 1e-5),
    "LTXModularPipeline:image": ("LTXImageToVideoPipeline", 1e-5),
    "LTX2ModularPipeline": ("LTX2Pipeline", 1e-5),
    "LTX2ModularPipeline:all-guidance": ("LTX2Pipeline", 1e-5),
    "LTX2ModularPipeline:image": ("LTX2ImageToVideoPipeline", 1e-5),
    "LTX2ModularPipeline:keyframes": ("LTX2ConditionPipeline", 0.2),
    "LTX2ModularPipeline:reference": ("LTX2InContextPipeline", 0.4),
    "Cosmos3OmniModularPipeline": ("Cosmos3OmniPipeline", 0.01),
    "Cosmos3OmniModularPipeline:sound": ("Cosmos3OmniPipeline", 0.01),
    "Cosmos3OmniModularPipeline:image": ("Cosmos3OmniPipeline", 0.01),
    "Cosmos3OmniModularPipeline:video": ("Cosmos3OmniPipeline", 0.01),
    "HeliosModularPipeline": ("HeliosPipeline", 0.2),
    "HeliosPyramidModularPipeline": ("HeliosPyramidPipeline", 0.0),
}


def video_classes() -> list[str]:
    """Names of the library's modular pipeline classes that make video, from where they are defined."""
    kinds = [getattr(diffusers, name) for name in dir(diffusers) if name.endswith("ModularPipeline")]
    kinds = [kind for kind in kinds if inspect.isclass(kind) and kind.__module__.split(".")[1] == "modular_pipelines"]
    return sorted(kind.__name__ for kind in kinds if kind.__module__.split(".")[2].startswith(_VIDEO))


def test_every_modular_video_pipeline_of_the_library_is_hosted_or_has_a_reason() -> None:
    classes = video_classes()
    assert len(classes) > 15
    assert sorted([*MODULAR_PIPELINES, *MODULAR_NOT_HOSTED]) == classes


def test_every_hosted_class_has_a_tiny_pipeline() -> None:
    assert sorted({class_of(one.values[0]) for one in ROWS}) == sorted(MODULAR_PIPELINES)
    assert set(MODULAR_NOT_HOSTED) <= set(UNAVAILABLE)


@pytest.mark.parametrize("name", MODULAR_PIPELINES)
def test_each_workflow_has_a_loop_of_a_form_that_is_hosted(name: str) -> None:
    pipeline = getattr(diffusers, name)()
    forms = list(find_block_forms(pipeline._blocks))
    assert forms and all(form.state in form.carried for form in forms)


def test_blocks_without_a_denoising_loop_are_refused_by_name() -> None:
    pipeline = diffusers.WanModularPipeline()
    pipeline._blocks = pipeline._blocks.sub_blocks["decode"]
    with pytest.raises(UnsupportedError, match="WanVaeDecoderStep of WanModularPipeline"):
        first_block_form(pipeline)


@pytest.mark.parametrize("row", ROWS)
def test_frames_equal_the_library_bit_for_bit(row: Tiny) -> None:
    for size in row.sizes:
        call = TinyCall(*size)
        assert_equal(run_hosted(row, call), run_pipeline(row, call))


@pytest.mark.parametrize("row", [one for one in ROWS if one.values[0].guides])
def test_frames_without_guidance_equal_the_library(row: Tiny) -> None:
    call = first_call(row, guided=False)
    assert_equal(run_hosted(row, call), run_pipeline(row, call))


@pytest.mark.parametrize("solver", REPRESENTATIVE.solvers)
def test_other_solvers_equal_the_library(solver: str) -> None:
    row, call = REPRESENTATIVE, first_call(REPRESENTATIVE)
    assert_equal(run_hosted(row, call, solver), run_pipeline(row, call, solver))


@pytest.mark.parametrize("row", [one for one in ROWS if one.values[0].batch])
def test_batches_equal_the_library(row: Tiny) -> None:
    call = first_call(row, prompts=(PROMPT, "a blue square on a black background"))
    assert_equal(run_hosted(row, call), run_pipeline(row, call))


@pytest.mark.parametrize("row", SESSIONS)
def test_steps_can_be_predicted_again_and_taken_back(row: Tiny) -> None:
    """Each step is predicted for other latents first, and the run goes back two steps once."""
    call = first_call(row, steps=5 if row.name.startswith("MiniMaxH3") else 4)  # its last level has no model call
    with torch.inference_mode(), closing(open_clip(row, call)) as clip:
        latents, saved, back = clip.initial, clip.snapshot(), clip.initial.clone()
        for index in (0, 1, 2, 1, 2, 3):  # back at step 1 after step 2
            if index == 1 and clip.position == 3:
                clip.restore(saved)
                latents = back
            clip.predict(context(index), latents + 0.5)
            prediction = clip.predict(context(index), latents)
            if index == 1 and clip.position == 1:
                saved, back = clip.snapshot(), latents.clone()
                prediction = clip.predict(context(index), latents)
            latents = clip.step(index, prediction, latents)
        clip.decode(latents)
        assert_equal(clip.outputs, run_pipeline(row, call))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == REPRESENTATIVE.name else pytest.mark.slow) for name in STANDARD]
)
def test_the_distance_from_the_standard_pipeline_is_as_documented(name: str) -> None:
    row = load_rows()[name]
    call, (standard, distance) = first_call(row), STANDARD[name]
    modular, kind = build(row, call), getattr(diffusers, standard)
    known, named = inspect.signature(kind.__init__).parameters, inspect.signature(kind.__call__).parameters
    components = {name: part for name, part in modular.components.items() if name in known}
    if "safety_checker" in known:
        components["safety_checker"] = modular.safety_checker
    settings = {name: value for name, value in modular.config.items() if name in known and name == "boundary_ratio"}
    words = row.call(call) | {name: scale for name, scale in scales_of(modular).items() if name in named}
    with torch.inference_mode():
        pipeline = kind(**components, **settings)
        pipeline.set_progress_bar_config(disable=True)
        result = pipeline(**words, generator=torch.Generator().manual_seed(SEED), output_type="np")
    found = (read_outputs(result, standard).frames - run_pipeline(row, call).frames).abs().max()
    assert float(found) <= distance, f"{float(found)}"
    assert distance == 0 or float(found) > distance / 100, "closer than documented"


def scales_of(pipeline: Any) -> dict[str, Any]:
    """The scales of a modular pipeline's guiders as arguments of the standard one."""
    found: dict[str, Any] = {}
    for name, prefix in (("guider", ""), ("audio_guider", "audio_")):
        config = getattr(getattr(pipeline, name, None), "config", {})
        found |= {f"{prefix}{key}": value for key, value in config.items() if "scale" in key or "blocks" in key}
    return found


def test_the_pipeline_and_its_blocks_stay_as_they_are() -> None:
    row, call = REPRESENTATIVE, first_call(REPRESENTATIVE)
    pipeline = build(row, call)
    scheduler, blocks, guider = pipeline.scheduler, pipeline._blocks, pipeline.guider
    loop = type(blocks.sub_blocks["denoise"].sub_blocks["denoise"])
    own_call = loop.__call__
    Engine.from_pipeline(pipeline).generate(PROMPT, **request_of(row, call))
    assert pipeline.scheduler is scheduler and pipeline.guider is guider and pipeline._blocks is blocks
    assert type(blocks.sub_blocks["denoise"].sub_blocks["denoise"]) is loop and loop.__call__ is own_call
    assert not pipeline.transformer._forward_pre_hooks


@pytest.mark.parametrize("row", ROWS)
def test_the_engine_s_request_makes_the_same_call(row: Tiny) -> None:
    assert_same_call(row)


@pytest.mark.parametrize("row", SESSIONS)
def test_the_initial_noise_is_that_of_every_other_model(row: Tiny) -> None:
    found, expected = initial_latents(row)
    first = 1 if row.name in FIRST_GIVEN else 0
    assert torch.allclose(found[:, first:], expected[:, first:], atol=1e-5)


def test_guidance_that_is_off_is_refused_where_the_library_fails() -> None:
    row, call = REPRESENTATIVE, first_call(REPRESENTATIVE)
    with pytest.raises(UnsupportedError, match="guidance is off"):
        engine_of(row, call).generate(PROMPT, frames=5, size=(32, 32), steps=2, guidance_scale=1.0)


def test_options_that_no_block_takes_are_refused_with_the_nearest() -> None:
    row, call = REPRESENTATIVE, first_call(REPRESENTATIVE)
    with pytest.raises(InputError, match="max_sequence_length"):
        engine_of(row, call).generate(PROMPT, frames=5, size=(32, 32), steps=2, options={"max_sequence_lenght": 16})


def test_pipelines_without_their_components_are_refused() -> None:
    with pytest.raises(InputError, match="load_components"):
        Engine.from_pipeline(diffusers.WanModularPipeline())


def test_classes_that_are_not_hosted_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULAR_NOT_HOSTED, "FluxModularPipeline", "it makes images")
    with pytest.raises(UnsupportedError, match="FluxModularPipeline is not supported: it makes images"):
        Engine.from_pipeline(diffusers.FluxModularPipeline())


def saved(row: Tiny, folder: Path) -> Path:
    build(row, first_call(row)).save_pretrained(str(folder), overwrite_modular_index=True)
    return folder


def test_a_distilled_pipeline_s_own_number_of_steps_is_the_default() -> None:
    row = load_rows()["Cosmos3DistilledModularPipeline"]
    backbone = engine_of(row, first_call(row)).backbone
    assert backbone.defaults.steps == 3 and backbone.defaults.guidance_scale == 1.0


def test_a_pipeline_without_its_safety_checker_says_so() -> None:
    row = load_rows()["Cosmos3OmniModularPipeline"]
    engine = engine_of(row, first_call(row))
    engine.backbone.pipeline.safety_checker = None
    with pytest.raises(InputError, match="safety checker"):
        engine.generate(PROMPT, frames=5, size=(32, 32), steps=2)


def test_folders_of_modular_pipelines_are_loaded(tmp_path: Path) -> None:
    """A folder that has been moved since it was saved: what its index says of other places is not followed."""
    row, call = REPRESENTATIVE, first_call(REPRESENTATIVE)
    folder = saved(row, tmp_path / "saved").rename(tmp_path / "moved")
    engine = Engine.load(str(folder))
    negative = row.call(call)["negative_prompt"]
    video = engine.generate(PROMPT, negative_prompt=negative, noise="diffusers", **request_of(row, call))
    expected = run_pipeline(row, call)
    assert np.array_equal(video.frames, (expected.frames[0] * 255).round().to(torch.uint8).numpy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "FluxModularPipeline"}, "FluxModularPipeline.*not supported"),
        ({"_blocks_class_name": "OwnBlocks"}, "blocks of its own"),
        ({"auto_map": {"ModularPipelineBlocks": "blocks.Own"}}, "blocks of its own"),
    ],
    ids=["class that is not hosted", "blocks that the library does not have", "code in the folder"],
)
def test_folders_that_cannot_be_hosted_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = saved(REPRESENTATIVE, tmp_path / "model")
    index = json.loads((folder / "modular_model_index.json").read_text())
    (folder / "modular_model_index.json").write_text(json.dumps(index | changes))
    with pytest.raises(CheckpointError, match=message):
        Engine.load(str(folder))
