"""Continuity policies on tiny models of every family: frames, resuming, replay, other techniques, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract.families import VARIANTS
from tests.contract.long_cases import (
    CASES,
    COMBINED,
    NEEDS_MET,
    EngineOf,
    denoise_segments,
    long_request,
    render_with_journal,
    start_run,
)
from videogen import InputError, UnsupportedError
from videogen.longvideo.journal.journal import Journal
from videogen.longvideo.policies.sections import Sections
from videogen.request.continuity_policies import ROWS, needs_met


def test_every_model_and_every_policy_has_a_case() -> None:
    assert {name.partition("+")[0] for name in NEEDS_MET} == set(VARIANTS)
    assert {spec for _, spec in CASES} >= set(ROWS)


@pytest.mark.parametrize("name", NEEDS_MET)
def test_the_cases_know_which_needs_a_model_meets(name: str, engine_of: EngineOf) -> None:
    assert needs_met(engine_of(name).backbone) == NEEDS_MET[name]


@pytest.mark.parametrize(("name", "policy"), CASES)
def test_the_requested_frames_are_those_of_decoding_the_job_at_once(
    name: str, policy: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    engine = engine_of(name)
    run = start_run(engine, long_request(name, policy, seed=3))
    frames, latents = render_with_journal(run, tmp_path / "job")
    decoded = (engine.backbone.decode(latents)[0] * 255).round().to(torch.uint8).numpy()
    assert (len(run.segments) > 1) != (run.continuity.windows is None), "windows=all makes one clip of a scene"
    assert len(frames) == run.request.frames
    assert np.array_equal(frames, decoded[: len(frames)])


@pytest.mark.parametrize(("name", "policy"), CASES)
def test_the_first_clip_is_the_plain_clip_bit_for_bit(name: str, policy: str, engine_of: EngineOf) -> None:
    engine, window = engine_of(name), long_request(name).window
    assert window is not None
    run = start_run(engine, long_request(name, policy, seed=3))
    if isinstance(run.renderer.policy, Sections):
        assert run.segments[0].frames > run.clip, "a section is longer than the plain clip"
        return
    plain = engine.render(long_request(name, "off", frames=window, seed=3)).frames
    fading = max(0, (run.continuity.fade or 0) - 1)  # last latents, cross-faded with the next clip
    same = window - fading * engine.backbone.geometry.temporal
    assert np.array_equal(np.concatenate(list(run.frames()))[:same], plain[:same])


def on_one_model(cases: Sequence[tuple[str, str]]) -> list[Any]:
    """Each policy on the first model that it runs on; on further ones slow."""
    policies = [policy for _, policy in cases]
    return [
        pytest.param(name, policy, marks=() if policy not in policies[:at] else pytest.mark.slow)
        for at, (name, policy) in enumerate(cases)
    ]


@pytest.mark.parametrize(("name", "policy"), on_one_model([case for case in CASES if ":" not in case[1]]))
def test_a_run_interrupted_after_any_segment_resumes_to_the_same_frames(
    name: str, policy: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    engine, request = engine_of(name), long_request(name, policy, seed=3)
    expected, _ = render_with_journal(start_run(engine, request), tmp_path / "uninterrupted")
    segments = len(start_run(engine, request).segments)
    for done in range(1, segments + 1):
        with Journal.open(tmp_path / "interrupted", {}) as journal:
            frames_of = start_run(engine, request).frames(journal)
            while len(journal) < done:
                next(frames_of, None)
            frames_of.close()  # type: ignore[attr-defined]
    frames, _ = render_with_journal(start_run(engine, request), tmp_path / "interrupted")
    assert np.array_equal(frames, expected)


@pytest.mark.parametrize("solver", [None, "euler", "unipc", "dpm++2m", "heun"])
@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_replayed_frames_end_where_their_source_ended(name: str, solver: str | None, engine_of: EngineOf) -> None:
    """The trajectory is the same until release; with release=1 to the end, bit for bit."""
    engine = engine_of(name)
    run = start_run(engine, long_request(name, "replay:release=1", solver=solver, seed=3))
    with torch.inference_mode():
        clips = denoise_segments(run, 3)
    overlap = run.continuity.overlap
    assert overlap is not None and len(clips) == 3
    for before, after in pairwise(clips):
        assert torch.equal(after[:, :, :overlap], before[:, :, -overlap:]) and not torch.equal(
            after[:, :, overlap:], before[:, :, :-overlap]
        )


def test_a_stochastic_solver_draws_the_same_for_replayed_frames(engine_of: EngineOf) -> None:
    request = long_request("animatediff", "replay:overlap=2,release=1", solver="euler-a", seed=3)
    run = start_run(engine_of("animatediff"), request)
    with torch.inference_mode():
        before, after = denoise_segments(run, 2)
    assert torch.equal(after[:, :, :2], before[:, :, -2:])


@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_mean_regularisation_of_strength_0_changes_nothing(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    plain, zero, strong = (
        engine.render(long_request(name, f"replay{pull}", seed=3)).frames for pull in ("", ":pull=0", ":pull=0.9")
    )
    window = long_request(name).window
    assert (
        np.array_equal(plain, zero)
        and not np.array_equal(plain, strong)
        and np.array_equal(plain[:window], strong[:window])
    )


@pytest.mark.parametrize(("name", "policy"), on_one_model(COMBINED))
def test_policies_work_with_other_techniques(name: str, policy: str, engine_of: EngineOf) -> None:
    """Every step a key step and attention too small to be sparse: bit-identical. With cached steps: another result, and
    the segments' rows record it."""
    engine = engine_of(name)
    plain = engine.render(long_request(name, policy, seed=3, steps=4)).frames
    same = engine.render(long_request(name, policy, seed=3, steps=4, propagate="every:1", attention="adaptive"))
    cached = engine.render(long_request(name, policy, seed=3, steps=4, propagate="every:2"))
    assert np.array_equal(plain, same.frames) and not np.array_equal(plain, cached.frames)
    assert cached.manifest is not None
    assert all(segment["propagation"]["keys"] for segment in cached.manifest["measured"]["long"]["segments"])


@pytest.mark.parametrize("policy", ["replay", "overlap", "co_denoise", "window_attention"])
def test_a_motion_runs_through_all_segments(policy: str, engine_of: EngineOf) -> None:
    """Also where the last clip reaches beyond the video's end; the motion changes the frames."""
    from videogen.motion import Camera

    name = "animatediff" if policy == "window_attention" else "wan-2.1"
    moving = long_request(name, policy, motion=Camera(pan=8), motion_backend="warped_noise", seed=3)
    still = long_request(name, policy, seed=3)
    frames = engine_of(name).render(moving).frames
    assert len(frames) == moving.frames and not np.array_equal(frames, engine_of(name).render(still).frames)


@pytest.mark.parametrize(
    ("name", "values", "kind", "message"),
    [
        pytest.param(
            "wan-2.1",
            {"continuity": "clean_prefix"},
            UnsupportedError,
            "does not take a timestep for each frame",
            id="no timesteps",
        ),
        pytest.param(
            "wan-2.1",
            {"continuity": "window_attention"},
            UnsupportedError,
            "temporal layers; use one of independent, ",
            id="no temporal layers",
        ),
        pytest.param(
            "wan-2.1",
            {"continuity": "replay:overlap=9"},
            InputError,
            "overlap=9 leaves nothing of a clip's 6",
            id="overlap",
        ),
        pytest.param(
            "wan-2.1",
            {"continuity": "replay", "window": 5},
            InputError,
            "2 latent frames is too short",
            id="window too short",
        ),
        pytest.param(
            "wan-2.1",
            {"continuity": "replay", "window": 20},
            InputError,
            "window=20 does not fill latent frames .* use 17 or 21",
            id="window that does not fit",
        ),
        pytest.param(
            "wan-2.1",
            {"continuity": "replay", "noise": "diffusers"},
            InputError,
            "needs addressed noise",
            id="consumed noise",
        ),
        pytest.param(
            "wan-2.1",
            {"story": {0: "a", 9999: "b"}, "prompt": ""},
            InputError,
            "starts at frame 9999",
            id="shot after the end",
        ),
        pytest.param(
            "wan-2.1",
            {"story": {0: "a", 8: "b"}, "prompt": "", "frames": None},
            InputError,
            "has no end",
            id="no length",
        ),
        pytest.param(
            "wan-2.1",
            {"retries": 2, "frames": 21},
            InputError,
            "retries=2 is for videos made",
            id="retries of one clip",
        ),
        pytest.param(
            "wan-2.1",
            {"continuity": "replay", "motion": "CAMERA"},
            UnsupportedError,
            "not known to be trained",
            id="motion",
        ),
    ],
)
def test_requests_that_do_not_fit_are_refused(
    name: str, values: dict[str, Any], kind: type[Exception], message: str, engine_of: EngineOf
) -> None:
    from videogen.motion import Camera

    values = {key: Camera(pan=4) if value == "CAMERA" else value for key, value in values.items()}
    with pytest.raises(kind, match=message):
        engine_of(name).render(long_request(name, **values))
