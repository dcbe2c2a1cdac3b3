"""Clips that continue finished frames: the model's input and timesteps, and other techniques."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract.long_cases import PREFIXED, PROMPT, EngineOf, long_request, render_with_journal, start_run
from videogen.backbones.conditioning import Conditioning
from videogen.longvideo import segment_renderer
from videogen.longvideo.journal.journal import Journal


@pytest.mark.parametrize("solver", [None, "euler", "unipc", "dpm++2m", "heun"])
@pytest.mark.parametrize("name", PREFIXED)
def test_the_model_sees_the_last_frames_finished_at_every_step(
    name: str, solver: str | None, engine_of: EngineOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(name)
    noisy = (
        {} if solver == "heun" else {"propagate": {"keys": "every:1", "prior_noise": 0.2}}
    )  # heun's steps cannot be propagated
    run = start_run(engine, long_request(name, "clean_prefix:overlap=2", solver=solver, seed=3, **noisy))
    inputs: list[tuple[torch.Tensor, torch.Tensor]] = []
    predict = engine.backbone.predict
    monkeypatch.setattr(
        engine.backbone, "predict", lambda z, t, *rest: (inputs.append((z.clone(), t.clone())), predict(z, t, *rest))[1]
    )
    _, latents = render_with_journal(run, tmp_path / "job")
    first, second = run.segments[:2]
    per_frame = [(z, t) for z, t in inputs if t.ndim][: len(run.plan)]
    finished = latents[:, :, second.start - 2 : second.start]
    assert (
        first.stop == second.start
        and len(per_frame) == len(run.plan)
        and all(t.ndim == 0 for _, t in inputs[: len(run.plan)])
    )
    for z, t in per_frame:
        assert torch.equal(z[:1, :, :2].float(), finished.float()) and t.tolist()[:2] == [0, 0] and (t[2:] > 0).all()
    assert torch.equal(latents[:, :, second.start - 2 : second.start], finished)


@pytest.mark.parametrize("name", PREFIXED[:2])  # in the third, random motion modules connect no frames
def test_the_next_segment_depends_on_the_stored_frames(name: str, engine_of: EngineOf, tmp_path: Path) -> None:
    """A segment that was regenerated before the next one began is what that one continues."""
    engine, request = engine_of(name), long_request(name, "clean_prefix", seed=3)
    run = start_run(engine, request)
    _, plain = render_with_journal(run, tmp_path / "plain")
    with Journal.open(tmp_path / "other", {}) as journal:
        cut = start_run(engine, request).frames(journal)
        while not len(journal):
            next(cut)
        cut.close()  # type: ignore[attr-defined]
        record = journal.read(0)
        journal.replace(replace(record, latents=record.latents.flip(1)))
    _, other = render_with_journal(start_run(engine, request), tmp_path / "other")
    stop = run.segments[0].stop
    assert torch.equal(other[:, :, :stop], plain[:, :, :stop].flip(1)) and not torch.allclose(
        other[:, :, stop:], plain[:, :, stop:]
    )


@pytest.mark.parametrize(
    ("name", "keys", "boundary"),
    [
        pytest.param("animatediff+clean_prefix", "fd", "fd", marks=pytest.mark.slow),
        ("animatediff+clean_prefix", "every:3", "fd"),
        ("wan-2.1+clean_prefix", "every:3", "output"),
    ],
)
def test_steps_with_a_prefix_are_decoded_one_by_one(name: str, keys: str, boundary: str, engine_of: EngineOf) -> None:
    """In one batch they would all have the timesteps of one step."""
    options: dict[str, Any] = {"continuity": "clean_prefix", "seed": 3, "steps": 20}
    rule: dict[str, Any] = {"keys": keys, "boundary": boundary}
    together = engine_of(name).render(long_request(name, **options, propagate=rule)).frames
    alone = engine_of(name).render(long_request(name, **options, propagate={**rule, "micro_batch": 1})).frames
    assert np.abs(together.astype(int) - alone).max() <= 2  # the first clip, which has no prefix, is decoded in batches


@pytest.mark.parametrize("name", PREFIXED)
def test_given_frames_stay_in_attention_and_need_no_prompt(
    name: str, engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = long_request(name).window
    run = start_run(
        engine_of(name),
        long_request(name, "clean_prefix:overlap=2", seed=3, prompt="", story={0: PROMPT, window: "a blue square"}),
    )
    always_attended: list[tuple[int, ...]] = []
    build = vars(segment_renderer)["build_techniques"]
    monkeypatch.setattr(
        segment_renderer,
        "build_techniques",
        lambda request, frames, **more: (always_attended.append(frames), build(request, frames, **more))[1],
    )
    list(run.frames())
    assert always_attended[0] == () and all(frames == (0, 1) for frames in always_attended[1:])
    assert len(always_attended) > 2
    second = run.segments[1]
    text, rest = run.prompts.conditioning(second), run.prompts.conditioning(second, finished=2)
    assert isinstance(text, Conditioning) and isinstance(rest, Conditioning) and text.blends and not rest.blends
