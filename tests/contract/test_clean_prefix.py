"""Clips that go on from finished frames: what the model sees and is told of them, and what goes along with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.contract.test_long_contract import PREFIXED, PROMPT, asked, latents_of, run_of
from videogen import Engine
from videogen.longvideo import run as long_run
from videogen.longvideo.journal.journal import Journal

EngineOf = Callable[[str], Engine]


@pytest.mark.parametrize("solver", [None, "euler", "unipc", "dpm++2m", "heun"])
@pytest.mark.parametrize("name", PREFIXED)
def test_the_model_sees_the_last_frames_finished_at_every_step(
    name: str, solver: str | None, engine_of: EngineOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(name)
    noisy = (
        {} if solver == "heun" else {"propagate": {"keys": "every:1", "prior_noise": 0.2}}
    )  # heun's steps cannot be propagated
    run = run_of(engine, asked(name, "clean_prefix:overlap=2", solver=solver, seed=3, **noisy))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    predict = engine.backbone.predict
    monkeypatch.setattr(
        engine.backbone, "predict", lambda z, t, *rest: (seen.append((z.clone(), t.clone())), predict(z, t, *rest))[1]
    )
    _, latents = latents_of(run, tmp_path / "job")
    first, second = run.segments[:2]
    told = [(z, t) for z, t in seen if t.ndim][: len(run.plan)]
    finished = latents[:, :, second.start - 2 : second.start]
    assert (
        first.stop == second.start and len(told) == len(run.plan) and all(t.ndim == 0 for _, t in seen[: len(run.plan)])
    )
    for z, t in told:
        assert torch.equal(z[:1, :, :2].float(), finished.float()) and t.tolist()[:2] == [0, 0] and (t[2:] > 0).all()
    assert torch.equal(latents[:, :, second.start - 2 : second.start], finished)


@pytest.mark.parametrize("name", PREFIXED[:2])  # the third's random motion modules tell a frame nothing of the others
def test_what_comes_next_hangs_on_the_frames_that_are_kept(name: str, engine_of: EngineOf, tmp_path: Path) -> None:
    """A segment that was made anew, before the next one was begun, is what that one goes on from."""
    engine, request = engine_of(name), asked(name, "clean_prefix", seed=3)
    run = run_of(engine, request)
    _, plain = latents_of(run, tmp_path / "plain")
    with Journal.open(tmp_path / "other", {}) as journal:
        cut = run_of(engine, request).frames(journal)
        while not len(journal):
            next(cut)
        cut.close()  # type: ignore[attr-defined]
        chunk = journal.read(0)
        journal.replace(replace(chunk, latents=chunk.latents.flip(1)))
    _, other = latents_of(run_of(engine, request), tmp_path / "other")
    stop = run.segments[0].stop
    assert torch.equal(other[:, :, :stop], plain[:, :, :stop].flip(1)) and not torch.allclose(
        other[:, :, stop:], plain[:, :, stop:]
    )


@pytest.mark.parametrize(
    ("name", "keys", "boundary"),
    [
        ("animatediff+clean_prefix", "fd", "fd"),
        ("animatediff+clean_prefix", "every:3", "fd"),
        ("wan-2.1+clean_prefix", "every:3", "output"),
    ],
)
def test_steps_with_a_prefix_are_decoded_one_by_one(name: str, keys: str, boundary: str, engine_of: EngineOf) -> None:
    """In one batch they would all be told one step's times."""
    asked_of = {"continuity": "clean_prefix", "seed": 3, "steps": 20, "propagate": {"keys": keys, "boundary": boundary}}
    together = engine_of(name).render(asked(name, **asked_of)).frames
    asked_of["propagate"] = {"keys": keys, "boundary": boundary, "micro_batch": 1}
    alone = engine_of(name).render(asked(name, **asked_of)).frames
    assert np.abs(together.astype(int) - alone).max() <= 2  # the first clip, which has no prefix, is decoded in batches


@pytest.mark.parametrize("name", PREFIXED)
def test_finished_frames_stay_in_attention_and_cost_no_prompt(
    name: str, engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = asked(name).window
    run = run_of(
        engine_of(name),
        asked(name, "clean_prefix:overlap=2", seed=3, prompt="", story={0: PROMPT, window: "a blue square"}),
    )
    kept: list[tuple[int, ...]] = []
    asked_for = long_run.asked_for
    monkeypatch.setattr(
        long_run,
        "asked_for",
        lambda request, frames, **more: (kept.append(frames), asked_for(request, frames, **more))[1],
    )
    list(run.frames())
    assert kept[0] == () and all(frames == (0, 1) for frames in kept[1:]) and len(kept) > 2
    second = run.segments[1]
    assert run.prompts.of(second).blends and not run.prompts.of(second, finished=2).blends
