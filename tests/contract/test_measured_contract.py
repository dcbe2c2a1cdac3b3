"""`continuity="measured"`: the trial, the chosen policy bit for bit, and jobs that resume with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.long_cases import LENGTHS, PROMPT, EngineOf, long_request
from videogen import Cancelled, Engine, InputError, RenderRequest, ResumeError, Video
from videogen.longvideo.journal.job import lock_job, locked_job
from videogen.longvideo.journal.journal import Journal
from videogen.longvideo.policy_trial import best_policy, find_candidates
from videogen.request.continuity_policies import trial_names
from videogen.sampling.progress import Progress


def trial_of(video: Any) -> dict[str, Any] | None:
    found = video.manifest["measured"]["long"].get("trial")
    return None if found is None else dict(found)


@pytest.mark.parametrize("name", ["wan-2.2-expand", "animatediff"])
def test_measured_is_the_best_of_a_trial_and_then_that_policy_bit_for_bit(name: str, engine_of: EngineOf) -> None:
    engine, heard = engine_of(name), []
    video = engine.generate(
        PROMPT, **clip_of(name), continuity="measured", seed=3,
        progress=lambda p: heard.append((p.stage, p.step, p.steps)),
    )  # fmt: skip
    trial = trial_of(video)
    assert trial is not None and trial["chosen"] == best_policy(trial["policies"])
    assert set(trial["policies"]) | set(trial["refused"]) == set(trial_names())
    assert ("clean_prefix" in trial["policies"]) == (name == "wan-2.2-expand")
    assert ("window_attention" in trial["policies"]) == (name == "animatediff")
    assert all(row["seam_ratio"] is not None for row in trial["policies"].values()), (
        "each policy must show joins in its trial"
    )
    tried = [step for stage, step, steps in heard if stage == "trial" and steps == 100]
    assert tried == sorted(tried) and len(set(tried)) > len(trial["policies"])
    named = engine.render(long_request(name, trial["chosen"], seed=3))
    assert np.array_equal(video.frames, named.frames) and trial_of(named) is None
    assert video.manifest is not None and named.manifest is not None
    assert named.manifest["request"]["continuity"] == video.manifest["request"]["continuity"]


def clip_of(name: str) -> dict[str, Any]:
    window, side, frames = LENGTHS.get(name, (21, 32, 55))
    return {"window": window, "frames": frames, "size": (side, side), "steps": 3}


def stop_after(engine: Engine, request: RenderRequest, output: Path, segments: int = 1) -> None:
    """Cancel a render after so many segments."""
    with pytest.raises(Cancelled):
        engine.render_long(
            request, output, progress=lambda p: not (p.stage == "denoise" and p.step >= 3 * segments + 1)
        )


def test_a_measured_job_resumes_without_another_trial_even_if_damaged(
    engine_of: EngineOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, request = engine_of("wan-2.1"), long_request("wan-2.1", "measured", seed=3)
    uninterrupted = engine.render_long(request, tmp_path / "uninterrupted.mp4")
    for name in ("a.mp4", "b.mp4"):
        stop_after(engine, request, tmp_path / name)
    job = tmp_path / "b.mp4.job" / "job.json"
    job.write_bytes(job.read_bytes()[:-9] + b"x" * 9)
    fixed = engine.render_long(request, tmp_path / "b.mp4")
    assert fixed.resumed and any("rewritten" in note for note in fixed.notes)
    monkeypatch.setattr("videogen.longvideo.policy_trial._measure", lambda *_: pytest.fail("tried again"))
    again = engine.render_long(request, tmp_path / "a.mp4")
    frames = Video.open(tmp_path / "uninterrupted.mp4").frames
    for video, name in ((again, "a.mp4"), (fixed, "b.mp4")):
        assert video.resumed and trial_of(video) == trial_of(uninterrupted) is not None
        assert np.array_equal(Video.open(tmp_path / name).frames, frames)


def test_a_job_with_a_named_policy_is_not_resumed_as_measured(engine_of: EngineOf, tmp_path: Path) -> None:
    engine, output = engine_of("wan-2.1"), tmp_path / "clip.mp4"
    stop_after(engine, long_request("wan-2.1", "independent", seed=3), output)
    with pytest.raises(ResumeError, match=r"continuity was .*independent.* and is 'measured'"):
        engine.render_long(long_request("wan-2.1", "measured", seed=3), output)
    (output.with_name("done.mp4")).write_bytes(b"")
    with pytest.raises(InputError, match=r"done\.mp4"):  # before the trial
        engine.render_long(long_request("wan-2.1", "measured"), output.with_name("done.mp4"))


def test_a_second_process_is_refused_before_its_trial_and_a_stopped_trial_leaves_nothing(
    engine_of: EngineOf, tmp_path: Path
) -> None:
    engine, request, output = engine_of("wan-2.1"), long_request("wan-2.1", "measured", seed=3), tmp_path / "clip.mp4"
    stages: list[str] = []

    def second(progress: Progress) -> bool:
        assert progress.stage == "trial" and not stages
        with pytest.raises(ResumeError, match=r"is being written by"):
            engine.render_long(request, output, progress=lambda p: stages.append(p.stage))
        return False

    with pytest.raises(Cancelled):
        engine.render_long(request, output, progress=second)
    assert not list(tmp_path.iterdir()) and not stages


def test_a_folder_that_another_process_locked_is_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / "clip.mp4.job"
    with locked_job(folder) as lock:
        Journal.open(folder, {}, lock).finish()
        newcomer = lock_job(folder)
    assert newcomer.held and (folder / "lock").exists()
    newcomer.release()


@pytest.mark.parametrize("where", ["story", "video"])
def test_a_trial_leaves_out_what_does_not_fit(where: str, engine_of: EngineOf) -> None:
    """A story's first prompt is tried throughout; a motion's noise excludes CoNo's."""
    backbone = engine_of("wan-2.1").backbone
    if where == "story":
        options: dict[str, Any] = {"prompt": "", "story": {0: PROMPT, 30: "a blue ball moves right"}}
    else:
        options = {"motion": {"kind": "camera", "pan": 4.0}, "motion_backend": "warped_noise"}
    able, refused = find_candidates(backbone, long_request("wan-2.1", "measured", **options).resolve(backbone))
    assert set(able) >= {"replay", "overlap", "co_denoise"} and ("cono_v" in able) == (where == "story")
    assert set(refused) >= {"clean_prefix", "window_attention"} and not set(able) & set(refused)
    assert all(short.story is None and short.to_dict()["story"] is None for short in able.values())
    assert "motion" in refused["cono_v"] if where == "video" else "cono_v" not in refused


def test_a_short_clip_needs_no_trial(engine_of: EngineOf) -> None:
    assert long_request("wan-2.1", "measured", frames=21).resolve(engine_of("wan-2.1").backbone).continuity == "off"
    with pytest.raises(InputError, match="measured takes no settings"):
        long_request("wan-2.1", "measured:overlap=2")
    with pytest.raises(InputError, match=r"no policy can be tried .*too short"):
        engine_of("wan-2.1").render(long_request("wan-2.1", "measured", window=5))


@pytest.mark.parametrize(
    ("figures", "still", "chosen"),
    [
        pytest.param(
            {"a": (1.2, 0.9), "b": (1.1, 0.5), "c": (1.3, 1.2)},
            False,
            "a",
            id="the smallest seam among those that move",
        ),
        pytest.param({"a": (1.0, 0.5), "b": (2.0, 0.7)}, False, "b", id="nothing moves: the one that moves most"),
        pytest.param({"a": (1.0, 0.5), "b": (2.0, 0.9)}, True, "a", id="the single clip does not move"),
        pytest.param({"a": (1.2, 0.8), "b": (1.2, 2.0)}, False, "a", id="equal: the cheaper one"),
        pytest.param({"a": (0.4, 1.0), "b": (1.1, 1.0)}, False, "b", id="a stall is a seam"),
        pytest.param({"a": (0.0, 1.0), "b": (2.1, 1.0)}, False, "b", id="a join at which nothing moves"),
        pytest.param({"a": (None, 1.0), "b": (1.9, 1.0)}, False, "b", id="an unmeasured one does not win"),
        pytest.param({"a": (None, 2.0), "b": (None, 1.1)}, False, "b", id="nothing was measured"),
    ],
)
def test_the_best_of_a_trial(figures: dict[str, tuple[float | None, float]], still: bool, chosen: str) -> None:
    assert (
        best_policy(
            {name: {"seam_ratio": ratio, "motion": motion} for name, (ratio, motion) in figures.items()}, still=still
        )
        == chosen
    )
