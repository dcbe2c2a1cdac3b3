"""Engine contract of every family: geometry, addressed noise, cancelling, snapshots, guards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.contract.families import VARIANTS
from videogen import Cancelled, Engine, InputError, NumericsError, Progress, UnsupportedError
from videogen.backbones.conditioning import negative_prompt_notes
from videogen.backbones.guided import GuidedClip
from videogen.core.branch import Branch
from videogen.core.manifest import Manifest
from videogen.request.request import RenderRequest
from videogen.sampling.loop import denoise
from videogen.sampling.sample import begin
from videogen.sampling.step_plan import StepRow, make_plan
from videogen.sampling.technique import Technique
from videogen.schedulers import AddressedNoise, Windows, build_solver, solver_names

PROMPT = "a red ball moves right"
pytestmark = pytest.mark.parametrize("name", VARIANTS)
EngineOf = Callable[[str], Engine]


def options(name: str, **more: Any) -> dict[str, Any]:
    frames, width, height = VARIANTS[name].clips[0]
    return {"frames": frames, "size": (width, height), "steps": 3, **more}


def test_geometry_is_that_of_the_vae(name: str, engine_of: EngineOf) -> None:
    backbone = engine_of(name).backbone
    frames, width, height = VARIANTS[name].clips[0]
    pixels = torch.randint(0, 255, (1, frames, height, width, 3), dtype=torch.uint8)
    latents = backbone.encode(pixels)
    assert tuple(latents.shape) == backbone.geometry.shape(frames, height, width)
    assert backbone.decode(latents).shape == pixels.shape


def test_tokens_are_those_of_self_attention(name: str, engine_of: EngineOf) -> None:
    backbone = engine_of(name).backbone
    grid = backbone.token_grid(backbone.geometry.shape(5, 32, 32))
    assert grid.video_tokens == grid.frames * grid.height * grid.width > 0


def test_a_pipeline_that_is_already_loaded_gives_the_same_video(
    name: str, engine_of: EngineOf, checkpoint: Callable[[str], Path]
) -> None:
    expected = engine_of(name).generate(PROMPT, **options(name))
    pipeline = getattr(diffusers, VARIANTS[name].pipeline).from_pretrained(checkpoint(name))
    engine = Engine.from_pipeline(pipeline)
    assert np.array_equal(engine.generate(PROMPT, **options(name)).frames, expected.frames)
    before = engine.backbone.identity
    assert before["name"] == str(checkpoint(name)) and before == Engine.from_pipeline(pipeline).backbone.identity
    next(engine.backbone.denoisers()[0].parameters()).data.view(-1)[0] += 1
    assert Engine.from_pipeline(pipeline).backbone.digest != before["hash"]
    with pytest.raises(InputError, match=r"takes a Backbone; use Engine\.from_pipeline"):
        Engine(pipeline)
    with pytest.raises(InputError, match="dict is not a pipeline"):
        Engine.from_pipeline({})
    with pytest.raises(UnsupportedError, match="ImagePipeline is not supported: it is not a video pipeline"):
        Engine.from_pipeline(type("ImagePipeline", (), {"components": {}})())


def test_same_seed_same_video_other_seed_other_video(name: str, engine_of: EngineOf) -> None:
    first, again, other = (engine_of(name).generate(PROMPT, seed=s, **options(name)).frames for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_clip_of_a_batch_is_reproduced_by_its_manifest(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    batch = engine.generate([PROMPT, "a blue square"], seed=5, **options(name, guidance_scale=1.0))
    request = RenderRequest.from_dict(Manifest.from_dict(batch[1].manifest or {}).request)
    assert (request.prompt, request.seed) == ("a blue square", 6)
    alone = engine.render(request).frames.astype(int)
    assert np.abs(alone - batch[1].frames.astype(int)).max() <= 1  # kernels may round differently in a batch


def test_render_from_the_manifest_is_bit_identical(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    video = engine.generate(PROMPT, seed=9, **options(name))
    manifest = Manifest.from_dict(video.manifest or {})
    again = engine.render(RenderRequest.from_dict(manifest.request))
    assert np.array_equal(video.frames, again.frames)
    assert manifest.model["hash"] == engine.backbone.digest and len(manifest.plan) == 3


@pytest.mark.parametrize("solver", ["unipc", "dpm++2m"])
def test_continuing_from_a_snapshot_gives_the_same_latents(name: str, solver: str, engine_of: EngineOf) -> None:
    backbone = engine_of(name).backbone
    request = RenderRequest(PROMPT, frames=5, width=32, height=32, steps=5).resolve(backbone)
    request = replace(request, solver=solver)
    with torch.inference_mode():
        state = begin(backbone, request, backbone.encode_prompt([PROMPT], [""]), [AddressedNoise(0)])
        plan = make_plan(backbone, state.solver, request)
        snapshot, last = None, state
        for last in denoise(state, plan, backbone.dtype):
            if last.index == 2:
                snapshot = last.snapshot()
        assert snapshot is not None
        for _ in range(2):
            *_, resumed = denoise(snapshot, plan, backbone.dtype)
            assert torch.equal(resumed.latents, last.latents)


def test_a_clip_that_runs_in_order_refuses_windows_and_snapshots(
    name: str, engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = engine_of(name).backbone
    request = RenderRequest(PROMPT, frames=5, width=32, height=32, steps=5).resolve(backbone)
    monkeypatch.setattr(GuidedClip, "reenterable", False)
    with torch.inference_mode():
        text = backbone.encode_prompt([PROMPT], [""])
        with pytest.raises(UnsupportedError, match="window by window"):
            begin(backbone, request, text, [AddressedNoise(0)], 4, Windows(4, 3, 1))
        state = begin(backbone, request, text, [AddressedNoise(0)])
        with pytest.raises(UnsupportedError, match="step 0 cannot be returned to"):
            state.snapshot()


def test_a_pass_through_technique_is_bit_identical_to_none(name: str, engine_of: EngineOf) -> None:
    plain = engine_of(name).generate(PROMPT, **options(name)).frames
    passed = engine_of(name).generate(PROMPT, techniques=[Technique(), Technique()], **options(name)).frames
    assert np.array_equal(plain, passed)


def test_techniques_see_every_branch_of_every_step_and_report(name: str, engine_of: EngineOf) -> None:
    class Spy(Technique):
        def __init__(self) -> None:
            self.calls: list[tuple[int, str]] = []

        def around(self, row: StepRow, branch: Branch) -> AbstractContextManager[object]:
            self.calls.append((row.index, str(branch)))
            return nullcontext()

        def end(self) -> dict[str, Any]:
            return {"calls": len(self.calls)}

    spy = Spy()
    video = engine_of(name).generate(
        PROMPT, techniques=[spy], guidance_mode="sequential", guidance_scale=3.0, **options(name)
    )
    assert spy.calls == [(i, b) for i in range(3) for b in ("cond", "uncond")]
    assert (video.manifest or {})["measured"]["calls"] == 6


def test_progress_counts_up_previews_and_can_cancel(name: str, engine_of: EngineOf) -> None:
    heard: list[Progress] = []
    engine_of(name).generate(PROMPT, progress=lambda p: heard.append(p), preview_every=2, **options(name))
    steps = [p for p in heard if p.stage == "denoise"]
    assert [p.step for p in steps] == [0, 1, 2, 3] and [p.stage for p in heard][-1] == "decode"
    assert [p.preview is not None for p in steps] == [False, False, True, False]
    image = steps[2].preview
    assert image is not None and image.dtype == np.uint8 and image.shape[-1] == 3

    with pytest.raises(Cancelled, match="denoise 1/3"):
        engine_of(name).generate(PROMPT, progress=lambda p: not (p.stage == "denoise" and p.step == 1), **options(name))


def test_nan_is_an_error_that_names_the_step(name: str, engine_of: EngineOf) -> None:
    class Poison(Technique):
        def prediction(self, row: Any, state: Any, prediction: torch.Tensor) -> torch.Tensor:
            return prediction * float("nan") if row.index == 1 else prediction

    with pytest.raises(NumericsError, match="step 2 of 3"):
        engine_of(name).generate(PROMPT, techniques=[Poison()], **options(name))


def test_sizes_that_do_not_fit_name_those_that_do(name: str, engine_of: EngineOf) -> None:
    backbone = engine_of(name).backbone
    multiple = backbone.geometry.multiple
    with pytest.raises(InputError, match=f"multiple of {multiple} .* use {3 * multiple} or {4 * multiple}"):
        engine_of(name).generate(PROMPT, size=(3 * multiple + 1, multiple), steps=1)


@pytest.mark.parametrize("motion", [None, {"kind": "camera", "pan": 4.0}], ids=["still", "with a motion"])
def test_a_clip_of_any_length_is_the_beginning_of_one_that_fits(
    name: str, motion: dict[str, Any] | None, engine_of: EngineOf, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(name)
    _, width, height = VARIANTS[name].clips[0]
    given: dict[str, Any] = {"size": (width, height), "steps": 2, "motion": motion, "motion_backend": "warped_noise"}
    given = given if motion else {key: value for key, value in given.items() if "motion" not in key}
    video = engine.generate(PROMPT, frames=6, **given)
    generated = engine.backbone.geometry.frame_map.round_up(6)
    manifest = video.manifest or {}
    assert len(video) == manifest["request"]["frames"] == 6
    if motion is None:
        assert np.array_equal(video.frames, engine.generate(PROMPT, frames=generated, **given).frames[:6])
    if generated != 6:
        assert (
            manifest["measured"]["length"] == {"frames": 6, "generated_frames": generated} and "left out" in caplog.text
        )
    else:
        assert "length" not in manifest["measured"]
    again = engine.render(RenderRequest.from_dict(manifest["request"]))
    assert np.array_equal(again.frames, video.frames)


def test_the_largest_clip_runs_and_a_larger_one_is_refused_with_the_limit(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    geometry, limits = engine.backbone.geometry, engine.backbone.limits
    assert limits.frames, "both families have a table of frame positions"
    least: dict[str, Any] = {"width": geometry.multiple, "height": geometry.multiple, "frames": 1}
    unit = {"width": geometry.multiple, "height": geometry.multiple, "frames": geometry.temporal}
    text = engine.backbone.encode_prompt([PROMPT], None).positive
    for side, limit in (("width", limits.width), ("height", limits.height), ("frames", limits.frames)):
        if limit is None:
            continue
        beyond = least | {side: limit + unit[side]}
        with pytest.raises(InputError, match=f"positions of .*at most {limit}"):
            engine.generate(PROMPT, steps=1, continuity="off", **beyond)
        shape = geometry.shape(*((least | {side: limit})[key] for key in ("frames", "height", "width")))
        with torch.inference_mode():
            assert engine.backbone.predict(torch.zeros(shape), torch.tensor(500), text).shape == shape
    beyond = least | {"frames": 500, "window": limits.frames + unit["frames"]}
    with pytest.raises(InputError, match=f"a window of a longer video, has at most {limits.frames}"):
        engine.generate(PROMPT, steps=1, **beyond)


def test_a_solver_that_does_not_fit_is_refused_with_those_that_do(name: str, engine_of: EngineOf) -> None:
    with pytest.raises(InputError, match="did you mean 'unipc'"):
        engine_of(name).generate(PROMPT, solver="uni-pc")
    if name.startswith("wan"):
        with pytest.raises(UnsupportedError, match=", ".join(solver_names("flow")).replace("+", r"\+")):
            engine_of(name).generate(PROMPT, solver="ddim")


def test_noise_of_a_stochastic_solver_belongs_to_its_frame(name: str, engine_of: EngineOf) -> None:
    """The first frames of a long clip get the noise that they get in a short one, whatever the solver draws."""
    backbone = engine_of(name).backbone
    fitting = solver_names(backbone.noise_schedule.kind)
    stochastic = [solver for solver in fitting if build_solver(solver, backbone.scheduler, 4).stochastic]
    assert len(stochastic) >= 2

    def stepped(solver: str, frames: int) -> torch.Tensor:
        sampler = build_solver(solver, backbone.scheduler, 4)
        ones = torch.ones(2, 4, frames, 2, 3)
        latents = ones
        for index in range(2):
            latents = sampler.step(0.1 * ones, index, latents, [AddressedNoise(7), AddressedNoise(8)])
        return latents

    for solver in stochastic:
        short, long = stepped(solver, 3), stepped(solver, 5)
        assert torch.equal(short, long[:, :, :3]), solver
        assert len({float(v) for v in long[:, 0, :, 0, 0].flatten()}) == 10, (
            solver
        )  # each frame of each clip has its own


def test_a_request_for_another_model_or_dtype_is_refused(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    others: tuple[dict[str, Any], ...] = ({"model": "embedded"}, {"dtype": "float16"}, {"device": "cuda"})
    for wrong in others:
        with pytest.raises(InputError, match=f"is for {next(iter(wrong))}="):
            engine.render(RenderRequest(PROMPT, frames=1, steps=1, **wrong))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 32}, r"size=32 must be \(width, height\)"),
        ({"size": (32, 32, 3)}, "size="),
        ({"size": ("32", "32")}, "width='32' must be int"),
        ({"frames": 5.5}, "frames=5.5 must be int"),
        ({"guidance_scale": -1.0}, "at least 0"),
        ({"guidance_scale": 1.0, "negative_prompt": "dull"}, "no effect"),
        ({"steps": True}, "steps=True must be int"),
        ({"solver": 3}, "solver=3 must be str"),
        ({"attention": None}, "attention=None must be"),
        ({"attention": {"recal": 0.9}}, "did you mean 'recall'"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_wrong_arguments_are_named(name: str, wrong: dict[str, Any], message: str, engine_of: EngineOf) -> None:
    with pytest.raises(InputError, match=message):
        engine_of(name).generate(PROMPT, **options(name, **wrong))


def test_prompts_are_texts_and_numbers_may_be_of_numpy(name: str, engine_of: EngineOf) -> None:
    wrong: Any
    for wrong in (3, None, [PROMPT, 3], b"ball"):
        with pytest.raises(InputError, match="must be a text or a list of texts"):
            engine_of(name).generate(wrong, **options(name))
    frames, width, height = (np.int64(n) for n in VARIANTS[name].clips[0])
    video = engine_of(name).generate(
        PROMPT, frames=frames, size=(width, height), steps=np.int32(1), guidance_scale=np.float32(2)
    )
    assert type((video.manifest or {})["request"]["frames"]) is int


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_overflow_of_the_vae_is_an_error_at_decode(
    name: str, bad: float, engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = engine_of(name).backbone.pipeline.vae
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda *a, **k: tuple(x + bad for x in decode(*a, **k)))
    with pytest.raises(NumericsError, match="at decode"):
        engine_of(name).generate(PROMPT, **options(name))


@pytest.mark.parametrize(("value", "word"), [(-1.0, "black"), (0.3, "one flat colour")])
def test_flat_frames_are_an_error(
    name: str, value: float, word: str, engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = engine_of(name).backbone.pipeline.vae
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda *a, **k: tuple(torch.full_like(x, value) for x in decode(*a, **k)))
    with pytest.raises(NumericsError, match=word):
        engine_of(name).generate(PROMPT, **options(name))


def test_each_manifest_of_a_batch_records_it(name: str, engine_of: EngineOf) -> None:
    clips = engine_of(name).generate([PROMPT, PROMPT], **options(name))
    assert [(v.manifest or {})["measured"]["batch"] for v in clips] == [
        {"size": 2, "index": 0, "exact": ["noise", "timesteps"]},
        {"size": 2, "index": 1, "exact": ["noise", "timesteps"]},
    ]


def test_how_a_prompt_was_read_is_recorded(name: str, engine_of: EngineOf) -> None:
    video = engine_of(name).generate("a red elephant moves", **options(name))
    assert (video.manifest or {})["measured"]["prompt"] == {"tokens": 5, "limit": 16, "unknown": ("elephant",)}
    assert "negative_prompt" not in (video.manifest or {})["measured"]


@pytest.mark.parametrize(
    ("negative", "notes"),
    [
        ("blurry, elephant", ["the model does not know ',', 'elephant' of the negative prompt"]),
        (
            "red " * 20,
            ["the negative prompt is 21 tokens long and the model reads the first 16; the rest has no effect"],
        ),
        ("blurry", []),
    ],
    ids=["unknown words", "beyond the limit", "read in full"],
)
def test_what_has_no_effect_in_a_negative_prompt_is_noted(
    name: str, negative: str, notes: list[str], engine_of: EngineOf
) -> None:
    single = engine_of(name).generate(PROMPT, negative_prompt=negative, guidance_scale=3.0, **options(name))
    long = engine_of(name).generate(
        PROMPT, negative_prompt=negative, guidance_scale=3.0, continuity="independent", **options(name)
    )
    for video in (single, long):
        assert negative_prompt_notes((video.manifest or {})["measured"]) == notes
