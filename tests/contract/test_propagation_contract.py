"""Propagation in the loop and in diffusers' own pipelines, for every family: exact where it must be, and reported in
the manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.contract.families import VARIANTS
from videogen import Engine, InputError, UnsupportedError
from videogen.propagation import StepCaching, attach
from videogen.propagation.controller import ErrorControl
from videogen.schedulers.diffusers_scheduler import build_scheduler

EngineOf = Callable[[str], Engine]
STEPS = 6
#: Sparse attention for the short sequences of tiny models
SPARSE: dict[str, Any] = {
    "recall": 0.9,
    "min_length": 8,
    "query_block": 4,
    "key_block": 2,
    "rows": None,
    "audit_rows": 16,
}
each_family = pytest.mark.parametrize("name", VARIANTS)


def render(name: str, engine: Engine, **more: Any) -> Any:
    count, width, height = VARIANTS[name].clips[0]
    return engine.generate("a red ball moves right", frames=count, size=(width, height), **({"steps": STEPS} | more))


def report_of(video: Any) -> dict[str, Any]:
    found: dict[str, Any] = video.manifest["measured"]["propagation"]
    return found


@each_family
@pytest.mark.parametrize("guidance", ["batched", "sequential"])
def test_with_every_step_a_key_step_the_result_is_the_plain_one(name: str, guidance: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    plain = render(name, engine, guidance_mode=guidance).frames
    exact = render(name, engine, guidance_mode=guidance, propagate={"keys": list(range(STEPS))})
    assert np.array_equal(exact.frames, plain) and report_of(exact)["keys"] == list(range(STEPS))
    propagated = render(name, engine, guidance_mode=guidance, propagate="every:3")
    assert not np.array_equal(propagated.frames, plain) and set(report_of(propagated)["keys"]) >= {0, 3}
    assert np.array_equal(render(name, engine, guidance_mode=guidance, propagate="off").frames, plain)


@each_family
def test_the_manifest_records_the_promise_the_key_steps_and_the_savings(name: str, engine_of: EngineOf) -> None:
    video = render(name, engine_of(name), steps=50, propagate="max_error:0.5")
    found = report_of(video)
    assert found["promised"]["max_error"] == 0.5 and found["boundary"] == ["output"]
    assert found["keys"][:5] == [0, 1, 2, 3, 4] and found["keys"][-1] == 49 and len(found["keys"]) < 50
    assert [row["index"] for row in video.manifest["plan"] if row["key"]] == found["keys"]
    assert found["within_promise"] == (found["estimated_error"] <= 0.5) and found["calibrated"] is False
    assert found["drift"].keys() == found["predicted_drift"].keys() and set(found["seconds"]) == {
        "key",
        "propagated",
        "saved",
    }
    assert video.manifest["request"]["propagate"] == "max_error:0.5"


def test_an_expert_switch_is_a_key_step(engine_of: EngineOf) -> None:
    video = render("wan-2.2-experts", engine_of("wan-2.2-experts"), propagate={"keys": [0]})
    experts = [row["expert"] for row in video.manifest["plan"]]
    switch = experts.index(1)
    assert report_of(video)["keys"] == [0, switch] and report_of(video)["forced"] == {str(switch): "another expert"}


def test_the_step_at_which_attention_turns_sparse_is_a_key_step(engine_of: EngineOf) -> None:
    sparse = SPARSE | {"dense_steps": 0.5}
    video = render("wan-2.1", engine_of("wan-2.1"), attention=sparse, propagate={"keys": [0], "boundary": "blocks:1,0"})
    assert (
        report_of(video)["forced"] == {"3": "attention turns sparse"}
        and video.manifest["measured"]["attention"]["steps"] == STEPS
    )


def test_fd_ahead_in_a_batch_and_one_by_one_agree_under_sparse_attention_too(engine_of: EngineOf) -> None:
    engine = engine_of("animatediff")
    ahead, alone = (
        render("animatediff", engine, propagate={"keys": "fd", "boundary": "fd", "micro_batch": n}) for n in (4, 1)
    )
    assert np.abs(ahead.frames.astype(int) - alone.frames.astype(int)).max() <= 1
    both = render("animatediff", engine, propagate="fd", attention=SPARSE)
    assert set(both.manifest["measured"]) >= {"propagation", "attention"}


#: A search at every other step, so that going back crosses one
SEARCHING = {name: value for name, value in SPARSE.items() if name != "recall"} | {
    "sparsity": 0.5,
    "search_at": [step / 50 for step in range(0, 50, 2)],
}
STATEFUL = [
    pytest.param("wan-2.1", "unipc", None, id="wan-2.1, solver with a corrector"),
    pytest.param("wan-2.1", "dpm++2m", None, id="wan-2.1, solver with a history"),
    pytest.param("wan-2.1", "dpm++2m", SEARCHING, id="wan-2.1, sparse attention"),
    pytest.param("animatediff", "unipc", None, id="animatediff, solver with a corrector"),
    pytest.param("animatediff", None, None, id="animatediff, its own solver"),
]


@pytest.mark.parametrize(("name", "solver", "attention"), STATEFUL)
def test_a_rolled_back_run_equals_one_with_its_key_steps_fixed(
    name: str,
    solver: str | None,
    attention: dict[str, Any] | None,
    engine_of: EngineOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An undone key step leaves no trace: solver, noise, cached features and block maps are as if its span had ended
    earlier."""
    engine, config = engine_of(name), {"max_error": 0.99, "first": 2}
    more = {} if attention is None else {"attention": attention}
    overshot = ErrorControl.roll_back_step
    undone: list[int] = []

    def once(self: ErrorControl, step: int, error: float | None) -> int | None:
        if undone or len(self._span) < 2:
            return overshot(self, step, None)
        undone.append(self._span[1][0])
        return undone[0]

    monkeypatch.setattr(ErrorControl, "roll_back_step", once)
    video = render(name, engine, steps=50, solver=solver, propagate=config, **more)
    assert undone and report_of(video)["rolled_back"][0][1] == undone[0] and undone[0] in report_of(video)["keys"]
    row_keys = [row["index"] for row in video.manifest["plan"] if row["key"]]
    fixed = render(name, engine, steps=50, solver=solver, propagate={"keys": row_keys}, **more)
    assert np.array_equal(video.frames, fixed.frames) and row_keys == report_of(video)["keys"]


@each_family
def test_bad_specs_and_settings_that_do_not_fit_are_refused(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    with pytest.raises(InputError, match="use one of off, max_error"):
        render(name, engine, propagate="fast")
    with pytest.raises(InputError, match="must be above 0"):
        render(name, engine, propagate="max_error:0")
    with pytest.raises(InputError, match=f"out of range for {STEPS} steps"):
        render(name, engine, propagate={"keys": [0, STEPS]})
    if not hasattr(engine.backbone.denoisers()[0], "up_blocks"):
        with pytest.raises(UnsupportedError, match="no encoder and decoder"):
            render(name, engine, propagate="fd")
        with pytest.raises(UnsupportedError, match="twice in some steps"):
            render(name, engine, propagate="every:2", solver="heun")
    else:
        with pytest.raises(UnsupportedError, match="twice in some steps"):
            render(name, engine, propagate="every:2", solver="pndm")
    assert np.array_equal(
        render(name, engine).frames, render(name, engine, propagate={"keys": list(range(STEPS))}).frames
    )


def test_prior_noise_is_off_unless_requested(engine_of: EngineOf) -> None:
    engine = engine_of("animatediff")
    base: dict[str, Any] = {"keys": list(range(STEPS))}
    plain = render("animatediff", engine).frames
    assert np.array_equal(render("animatediff", engine, propagate=base | {"prior_noise": 0.0}).frames, plain)
    assert not np.array_equal(render("animatediff", engine, propagate=base | {"prior_noise": 0.05}).frames, plain)
    assert np.array_equal(
        render("animatediff", engine, propagate=base | {"prior_noise": 0.05, "prior_noise_below": 0.0}).frames, plain
    )


@each_family
def test_key_steps_may_compute_some_frames_only(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    base: dict[str, Any] = {"keys": list(range(STEPS)), "frames_gate": 0.0}
    plain = render(name, engine).frames
    assert np.array_equal(render(name, engine, propagate=base | {"frames": 1}).frames, plain)
    if name == "wan-2.2-expand":  # its timesteps are given per token
        assert report_of(render(name, engine, propagate=base | {"frames": 2}))["frames_computed"] < 1
        return
    some = render(name, engine, propagate=base | {"frames": 2})
    assert 0.5 <= report_of(some)["frames_computed"] < 1 and not np.array_equal(some.frames, plain)
    assert np.array_equal(render(name, engine).frames, plain)


SOLVERS = {
    "wan-2.1": (None, "unipc", "dpm++2m"),
    "animatediff": ("ddim", "euler", "dpm++2m", "unipc"),
    "wan-2.2-experts": (None,),
}


@pytest.mark.parametrize(
    ("name", "solver"), [(name, solver) for name, solvers in SOLVERS.items() for solver in solvers]
)
def test_a_pipeline_that_the_user_drives(name: str, solver: str | None, checkpoint: Callable[[str], Path]) -> None:
    """With key steps only, bit-identical; propagated runs repeat, do not mix one run with the next, and decoding FD's
    steps ahead equals decoding them one by one."""
    variant = VARIANTS[name]
    pipeline = getattr(diffusers, variant.pipeline).from_pretrained(checkpoint(name))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = build_scheduler(solver, pipeline.scheduler)
    frames, width, height = variant.clips[0]

    def run(prompt: str, steps: int = STEPS) -> np.ndarray:
        return np.asarray(pipeline(
            prompt=prompt, num_frames=frames, width=width, height=height, num_inference_steps=steps, guidance_scale=4.0,
            generator=torch.Generator().manual_seed(1), output_type="np", **variant.call,
        ).frames)  # fmt: skip

    plain = run("a red ball")
    with attach(pipeline, StepCaching(keys=tuple(range(STEPS)))) as handle:
        assert np.array_equal(run("a red ball"), plain) and handle.report()["keys"] == list(range(STEPS))
    rule = StepCaching.parse("fd" if name == "animatediff" else "every:2")
    with attach(pipeline, rule) as handle:
        propagated = run("a red ball")
        keys = handle.report()["keys"]
        assert 0 in keys and len(keys) < STEPS and not np.array_equal(propagated, plain)
        run("a blue square")
        run("a red ball", STEPS - 2)
        assert handle.report()["steps"] == STEPS - 2
        assert np.array_equal(run("a red ball"), propagated)
    if name == "animatediff":
        with attach(pipeline, StepCaching(keys="fd", boundary="fd", predictor="hold", micro_batch=1)):
            assert np.abs(run("a red ball") - propagated).max() < 1e-4
    assert np.array_equal(run("a red ball"), plain)


def test_the_engine_and_a_pipeline_propagate_to_the_same_frames(
    checkpoint: Callable[[str], Path], engine_of: EngineOf
) -> None:
    variant = VARIANTS["animatediff"]
    frames, width, height = variant.clips[0]
    ours = engine_of("animatediff").generate(
        "a red ball", frames=frames, size=(width, height), steps=STEPS, guidance_scale=4.0, seed=3, noise="diffusers",
        propagate="every:2",
    ).frames  # fmt: skip
    pipeline = diffusers.AnimateDiffPipeline.from_pretrained(checkpoint("animatediff"))
    pipeline.set_progress_bar_config(disable=True)
    with attach(pipeline, "every:2"):
        theirs = pipeline(
            prompt="a red ball", num_frames=frames, width=width, height=height, num_inference_steps=STEPS,
            guidance_scale=4.0, generator=torch.Generator().manual_seed(3), output_type="np",
        ).frames[0]  # fmt: skip
    assert np.array_equal(ours, np.round(255 * np.asarray(theirs)).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "propagate"),
    [
        pytest.param("wan-2.1", "max_error:0.05", id="promised error"),
        pytest.param("wan-2.1", "first-block:0.1", id="first block"),
        pytest.param("wan-2.1", "seacache", id="filtered latents"),
        pytest.param("animatediff", {"keys": "fd", "boundary": "fd", "frames": 2}, id="similar frames"),
    ],
)
def test_what_is_reused_in_a_clip_does_not_depend_on_its_batch(name: str, propagate: Any, engine_of: EngineOf) -> None:
    count, width, height = VARIANTS[name].clips[0]
    settings: dict[str, Any] = {"frames": count, "size": (width, height), "steps": 8, "propagate": propagate}
    engine, prompts = engine_of(name), ["a red ball moves right", "a blue square"]
    for seed, (prompt, clip) in enumerate(zip(prompts, engine.generate(prompts, seed=5, **settings), strict=True), 5):
        alone = engine.generate(prompt, seed=seed, **settings)
        assert np.array_equal(clip.frames, alone.frames)
        assert clip.manifest is not None and alone.manifest is not None
        assert clip.manifest["plan"] == alone.manifest["plan"]
        assert clip.manifest["measured"].keys() == alone.manifest["measured"].keys()  # without `batch`
        assert report_of(clip).get("evaluated") == report_of(alone).get("evaluated")
