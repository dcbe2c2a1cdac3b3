"""The host: every pipeline class of the library, bit for bit, and each step at any time."""

from __future__ import annotations

import gc
import inspect
import threading
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.contract.hosting import (
    assert_equal,
    assert_same_call,
    build,
    calls,
    class_of,
    context,
    first_call,
    hosted_rows,
    initial_latents,
    open_clip,
    pipeline_row,
    run_hosted,
    run_pipeline,
)  # fmt: skip
from tests.tiny.table import PROMPT, Tiny, TinyCall, load_rows
from videogen import InputError, UnsupportedError
from videogen.backbones.hosting.library_version import has_class
from videogen.backbones.hosting.loop_form import read_loop_form
from videogen.backbones.hosting.outputs import read_outputs
from videogen.backbones.hosting.pipeline_row import SESSION
from videogen.backbones.hosting.pipelines import NOT_HOSTED, PIPELINES

ROWS = hosted_rows()
SESSIONS = [one for one in ROWS if pipeline_row(one.values[0]).mode == SESSION]
VIDEO_FOLDERS = (
    "allegro", "animatediff", "anyflow", "chronoedit", "cogvideo", "consisid", "cosmos", "deprecated", "easyanimate",
    "helios", "hunyuan_video", "hunyuan_video1_5", "kandinsky5", "kandinsky6", "latte", "ltx", "ltx2", "lucy", "mochi",
    "motif_video", "sana_video", "sana_wm", "skyreels_v2", "stable_video_diffusion", "wan",
)  # fmt: skip
#: not yet in the oldest version of diffusers that is supported
_NOT_HOSTED_SINCE_042 = {"Kandinsky6SRPipeline"}
_NO_VIDEO = ("stable_diffusion_variants", "alt_diffusion", "amused", "audio_diffusion", "blip_diffusion", "musicldm")


def video_classes() -> list[str]:
    """Names of the library's pipeline classes that make or change video, from where they are defined."""
    found = []
    for name in dir(diffusers):
        kind = getattr(diffusers, name, None)
        if not (inspect.isclass(kind) and name.endswith("Pipeline")):
            continue
        _, _, *folders = kind.__module__.split(".")
        is_video = folders[:1] and folders[0] in VIDEO_FOLDERS and kind.__module__.startswith("diffusers.pipelines")
        if folders[:1] == ["deprecated"]:
            is_video = any(word in kind.__module__ for word in ("video", "i2vgen", "pia"))
        if (is_video or name == "AnimateDiffPAGPipeline") and not any(word in kind.__module__ for word in _NO_VIDEO):
            found.append(name)
    return found


def test_every_video_pipeline_of_the_library_is_hosted_or_has_a_reason() -> None:
    classes = video_classes()
    assert len(classes) > 70
    unknown = [name for name in classes if name not in PIPELINES and name not in NOT_HOSTED]
    assert not unknown, f"new in this version of diffusers: {unknown}; add a row, or a reason to NOT_HOSTED"
    later = {name for name, row in PIPELINES.items() if not has_class(row)} | _NOT_HOSTED_SINCE_042
    gone = [name for name in (*PIPELINES, *NOT_HOSTED) if not (hasattr(diffusers, name) or name in later)]
    assert not gone, f"no longer in this version of diffusers: {gone}"
    assert not set(PIPELINES) & set(NOT_HOSTED)


@pytest.mark.parametrize("name", [name for name, row in PIPELINES.items() if has_class(row)])
def test_loops_have_the_form_that_the_host_expects(name: str) -> None:
    form = read_loop_form(getattr(diffusers, name), PIPELINES[name].method)
    assert form.state in form.carried


@pytest.mark.parametrize(
    "name", [name for name, why in NOT_HOSTED.items() if "loop" in why and hasattr(diffusers, name)]
)
def test_loops_of_another_form_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedError, match=name):
        read_loop_form(getattr(diffusers, name))


def test_every_hosted_class_has_a_tiny_pipeline() -> None:
    tiny = {class_of(row) for row in load_rows().values()}
    assert sorted(set(PIPELINES) - tiny) == []


@pytest.mark.parametrize("row", ROWS)
def test_frames_and_audio_equal_the_library_bit_for_bit(row: Tiny) -> None:
    for call in calls(row):
        assert_equal(run_hosted(row, call), run_pipeline(row, call))


@pytest.mark.parametrize("row", ROWS)
def test_other_solvers_equal_the_library(row: Tiny) -> None:
    for solver in row.solvers:
        call = first_call(row)
        assert_equal(run_hosted(row, call, solver), run_pipeline(row, call, solver))


@pytest.mark.parametrize("row", [one for one in ROWS if one.values[0].batch])
def test_batches_equal_the_library(row: Tiny) -> None:
    call = first_call(row, prompts=(PROMPT, "a blue square on a black background"))
    assert_equal(run_hosted(row, call), run_pipeline(row, call))


@pytest.mark.parametrize("row", SESSIONS)
def test_steps_can_be_predicted_again_and_taken_back(row: Tiny) -> None:
    """Each step is predicted for other latents first, and the run goes back two steps once."""
    call = first_call(row, steps=4)
    with torch.inference_mode(), closing(open_clip(row, call)) as clip:
        latents, index, saved, went_back = clip.initial, 0, None, False
        while index < clip.length:
            clip.predict(context(index), latents + 0.5)
            again = clip.predict(context(index), latents.clone())
            prediction = clip.predict(context(index), latents)
            assert torch.equal(prediction, again)
            if index == 1 and not went_back:
                saved = clip.snapshot(), latents.clone()
            changed = prediction.clone() if index % 2 else prediction  # as a technique that changes it
            latents, index = clip.step(index, changed, latents), index + 1
            if index == 3 and saved is not None and not went_back:
                clip.restore(saved[0])
                latents, index, went_back = saved[1], 1, True
        clip.decode(latents)
        assert_equal(clip.outputs, run_pipeline(row, call))


@pytest.mark.parametrize(
    "name",
    [
        "WanPipeline",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("LTXPipeline", "CogVideoXPipeline", "HunyuanVideoPipeline")
        ),
    ],
)
def test_half_precision_equals_the_library(name: str) -> None:
    row = load_rows()[name]
    call = first_call(row)
    assert_equal(run_hosted(row, call, dtype=torch.bfloat16), run_pipeline(row, call, dtype=torch.bfloat16))


def test_sound_of_one_clip_has_its_channels() -> None:
    frames, stereo = np.zeros((1, 2, 4, 4, 3), np.float32), torch.zeros(2, 100)
    found = read_outputs(SimpleNamespace(frames=frames, sound=stereo), "pipeline").audio
    assert found is not None and found.samples.shape == (1, 2, 100)


REPRESENTATIVE = next(one.values[0] for one in ROWS if one.values[0].name == "WanPipeline")


def test_clips_that_are_dropped_leave_no_thread() -> None:
    row, call = REPRESENTATIVE, first_call(REPRESENTATIVE)
    pipeline = build(row, call)
    for number in range(200):
        clip = open_clip(row, call, pipeline=pipeline)
        if number % 2:
            clip.predict(context(0), clip.initial)
        if number % 3:
            clip.close()
        del clip
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name == "pipeline"]


def test_hooks_are_gone_after_closing() -> None:
    row = REPRESENTATIVE
    clip = open_clip(row, first_call(row))
    model = clip._loop.pipeline.transformer
    assert model._forward_pre_hooks
    clip.close()
    clip.close()
    assert not model._forward_pre_hooks and not model._forward_hooks


def test_errors_of_the_pipeline_reach_the_caller() -> None:
    row, call = REPRESENTATIVE, first_call(REPRESENTATIVE)
    clip = open_clip(row, call)
    with closing(clip), pytest.raises(RuntimeError, match="size"):
        clip.predict(context(0), clip.initial[:, :1])
    assert not any(thread.name == "pipeline" and thread.is_alive() for thread in threading.enumerate())


def test_what_a_pipeline_s_own_checks_refuse_is_an_input_error() -> None:
    row = REPRESENTATIVE
    with pytest.raises(InputError, match=r"WanPipeline refuses the request: .*divisible"):
        open_clip(row, TinyCall(5, 33, 32))
    open_clip(row, TinyCall(5, 32, 32)).close()


def test_a_technique_s_error_in_a_model_call_reaches_the_caller() -> None:
    def refuse(branch: Any) -> Any:
        raise InputError("refused")

    row = REPRESENTATIVE
    with closing(open_clip(row, first_call(row))) as clip, pytest.raises(InputError, match="refused"):
        clip.predict(context(0).__class__(0, 1.0, around=refuse), clip.initial)


def test_the_modes_of_torch_are_those_of_the_caller() -> None:
    row, call = REPRESENTATIVE, first_call(REPRESENTATIVE)
    with torch.inference_mode(), closing(open_clip(row, call)) as clip:
        assert clip.predict(context(0), clip.initial).is_inference()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), closing(open_clip(row, call)) as clip:
        mixed = clip.predict(context(0), clip.initial)
    with torch.no_grad(), closing(open_clip(row, call)) as clip:
        plain = clip.predict(context(0), clip.initial)
    assert not torch.equal(mixed, plain) and not plain.requires_grad


def test_steps_run_in_order_where_the_pipeline_makes_sections() -> None:
    row = load_rows()["AnyFlowFARPipeline"]
    with torch.inference_mode(), closing(open_clip(row, first_call(row))) as clip:
        assert not clip.reenterable
        with pytest.raises(UnsupportedError, match="in order"):
            clip.predict(context(1), clip.initial)


@pytest.mark.parametrize("row", ROWS)
def test_the_engine_s_request_makes_the_same_call(row: Tiny) -> None:
    assert_same_call(row)


@pytest.mark.parametrize("row", SESSIONS)
def test_the_initial_noise_is_that_of_every_other_model(row: Tiny) -> None:
    """Latent frame by latent frame, whatever else the pipeline draws, and in whatever order and layout."""
    found, expected = initial_latents(row)
    for frame in range(found.shape[1]):
        pair = torch.stack([found[:, frame].flatten().double(), expected[:, frame].flatten().double()])
        pinned = not frame and (pipeline_row(row).needs or row.given(first_call(row)))
        assert pinned or torch.corrcoef(pair)[0, 1] > 0.3, f"latent frame {frame}"
