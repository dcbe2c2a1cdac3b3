"""Long videos of every family: what a policy promises, bit for bit; nothing hangs on where a run was cut off."""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract.families import VARIANTS
from videogen import Cancelled, Engine, InputError, RenderRequest, ResumeError, UnsupportedError, Video
from videogen.longvideo.journal.journal import Journal
from videogen.longvideo.run import LongRun
from videogen.longvideo.segment_checks import faults

PROMPT = "a red ball moves right"
LENGTHS = {"animatediff": (6, 16, 23)}  # window, size, frames; Wan: see `asked`
CHAINS = ("independent", "overlap", "replay", "cono")
ALL = {
    "wan-2.1": (*CHAINS, "replay:release=0.8", "replay:pull=0.5", "co_denoise", "freenoise"),
    "wan-2.2-experts": ("replay", "cono"),
    "wan-2.2-expand": ("clean_prefix", "i2v_prefix", "replay"),
    "wan-2.1+clean_prefix": ("clean_prefix",),
    "animatediff+clean_prefix": ("clean_prefix",),
    "animatediff": (*CHAINS, "co_denoise:windows=2", "freenoise", "window_attention"),
}
PREFIXED = ("wan-2.2-expand", "wan-2.1+clean_prefix", "animatediff+clean_prefix")
TOGETHER = [
    *((name, policy) for name in ("wan-2.1", "animatediff") for policy in ("replay", "cono", "co_denoise")),
    *((name, "clean_prefix") for name in PREFIXED),
]
ROWS = [(name, policy) for name, policies in ALL.items() for policy in policies]
EngineOf = Callable[[str], Engine]


def asked(name: str, policy: str | None = None, **more: Any) -> RenderRequest:
    """A clip some windows long, whose length fills neither a latent nor a segment."""
    window, side, frames = LENGTHS.get(name.partition("+")[0], (21, 32, 55))
    values = {
        "prompt": PROMPT,
        "window": window,
        "frames": frames,
        "width": side,
        "height": side,
        "steps": 3,
        "continuity": policy,
    }
    return RenderRequest(**values | more)


def run_of(engine: Engine, request: RenderRequest) -> LongRun:
    return LongRun(engine.backbone, request.resolve(engine.backbone))


def latents_of(run: LongRun, folder: Path) -> tuple[np.ndarray, torch.Tensor]:
    """All frames, and the latents of the whole job."""
    with Journal.open(folder, {}) as journal:
        frames = np.concatenate(list(run.frames(journal)))
        return frames, journal.latents(0, journal.latents_done)


@pytest.mark.parametrize(("name", "policy"), ROWS)
def test_as_many_frames_as_asked_and_each_of_them_decoded_as_in_one_go(
    name: str, policy: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    engine = engine_of(name)
    run = run_of(engine, asked(name, policy, seed=3))
    frames, latents = latents_of(run, tmp_path / "job")
    whole = (engine.backbone.decode(latents)[0] * 255).round().to(torch.uint8).numpy()
    assert len(run.segments) > 1 and len(frames) == run.request.frames
    assert np.array_equal(frames, whole[: len(frames)])


@pytest.mark.parametrize(("name", "policy"), [row for row in ROWS if not row[1].startswith(("co_", "free", "window"))])
def test_the_first_clip_is_the_plain_clip_bit_for_bit(name: str, policy: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    window = asked(name).window
    assert window is not None
    plain = engine.render(asked(name, "off", frames=window, seed=3)).frames
    fades = policy in ("overlap", "replay:release=0.8")
    shown = window - 2 * engine.backbone.geometry.temporal if fades else window  # its last frames are cross-faded
    assert np.array_equal(engine.render(asked(name, policy, seed=3)).frames[:shown], plain[:shown])


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        (name, policy)
        for name, policy in ROWS
        if policy in ("independent", "overlap", "replay", "cono", "clean_prefix", "i2v_prefix", "co_denoise")
    ],
)
def test_a_run_cut_off_after_any_segment_goes_on_to_the_same_frames(
    name: str, policy: str, engine_of: EngineOf, tmp_path: Path
) -> None:
    engine, request = engine_of(name), asked(name, policy, seed=3)
    expected, _ = latents_of(run_of(engine, request), tmp_path / "whole")
    segments = len(run_of(engine, request).segments)
    for done in range(1, segments + 1):
        with Journal.open(tmp_path / "cut", {}) as journal:
            cut = run_of(engine, request).frames(journal)
            while len(journal) < done:
                next(cut, None)
            cut.close()  # type: ignore[attr-defined]
    frames, _ = latents_of(run_of(engine, request), tmp_path / "cut")
    assert np.array_equal(frames, expected)


@pytest.mark.parametrize("solver", [None, "euler", "unipc", "dpm++2m", "heun"])
@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_replayed_frames_end_where_their_source_ended(name: str, solver: str | None, engine_of: EngineOf) -> None:
    """The trajectory is the same until release; with release=1 to the end, bit for bit."""
    engine = engine_of(name)
    run = run_of(engine, asked(name, "replay:release=1", solver=solver, seed=3))
    with torch.inference_mode():
        clips = _sampled(run, 3)
    tie = run.continuity.overlap
    assert tie is not None and len(clips) == 3
    for before, after in pairwise(clips):
        assert torch.equal(after[:, :, :tie], before[:, :, -tie:]) and not torch.equal(
            after[:, :, tie:], before[:, :, :-tie]
        )


def test_a_stochastic_solver_draws_the_same_for_replayed_frames(engine_of: EngineOf) -> None:
    run = run_of(engine_of("animatediff"), asked("animatediff", "replay:overlap=2,release=1", solver="euler-a", seed=3))
    with torch.inference_mode():
        before, after = _sampled(run, 2)
    assert torch.equal(after[:, :, :2], before[:, :, -2:])


def _sampled(run: LongRun, count: int) -> list[torch.Tensor]:
    """The last clip of each of the first segments, before anything is cut away."""
    from videogen.longvideo.continuity_technique import Memory

    run._begun = 0.0
    memory, found = Memory(), []
    for segment in run.segments[:count]:
        latents, _, memory = run._denoise(
            segment, memory, None, [run.noise.of(segment, n) for n in range(len(segment.clips))]
        )
        found.append(latents[-1:])
    return found


@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_pull_at_nothing_changes_nothing_and_at_something_does(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    plain, none, some = (
        engine.render(asked(name, f"replay{pull}", seed=3)).frames for pull in ("", ":pull=0", ":pull=0.9")
    )
    window = asked(name).window
    assert (
        np.array_equal(plain, none)
        and not np.array_equal(plain, some)
        and np.array_equal(plain[:window], some[:window])
    )


@pytest.mark.parametrize(("name", "policy"), TOGETHER)
def test_other_techniques_go_along(name: str, policy: str, engine_of: EngineOf) -> None:
    """Every step a key step, and attention too small to be sparse: bit-identical. With some steps kept: another result,
    told."""
    engine = engine_of(name)
    plain = engine.render(asked(name, policy, seed=3, steps=4)).frames
    same = engine.render(asked(name, policy, seed=3, steps=4, propagate="every:1", attention="adaptive"))
    kept = engine.render(asked(name, policy, seed=3, steps=4, propagate="every:2"))
    assert np.array_equal(plain, same.frames) and not np.array_equal(plain, kept.frames)
    assert kept.manifest is not None
    assert all(segment["propagation"]["keys"] for segment in kept.manifest["measured"]["long"]["segments"])


# --- stories
# ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["replay", "cono", "co_denoise"])
@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_after_a_cut_nothing_hangs_on_what_was_before(name: str, policy: str, engine_of: EngineOf) -> None:
    engine, frames = engine_of(name), 23 if name == "animatediff" else 56
    fps = engine.backbone.defaults.fps
    cut = 28 if name != "animatediff" else 10

    def story(first: str) -> dict[str, Any]:
        second = {"prompt": "a blue square", "start": f"{cut}/{fps}", "end": None, "transition": "cut", "seed": 5}
        return {"unit": "seconds", "shots": [{"prompt": first, "start": "0", "end": f"{cut}/{fps}"}, second]}

    red, blue = (
        engine.render(asked(name, policy, prompt="", story=story(p), frames=frames, seed=3))
        for p in (PROMPT, "a blue ball")
    )
    begins = cut + 1 if name != "animatediff" else cut  # a latent holds frames 25 to 28
    assert len(red) == frames and np.array_equal(red.frames[begins:], blue.frames[begins:])
    assert not np.array_equal(red.frames[:begins], blue.frames[:begins])


@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_what_comes_later_changes_nothing_before(name: str, engine_of: EngineOf) -> None:
    engine, (window, _, frames) = engine_of(name), LENGTHS.get(name, (21, 32, 56))
    late = {0: PROMPT, 2 * window: "a blue square"}
    one, other = (
        engine.render(asked(name, "replay", prompt="", story=s, frames=frames)).frames for s in (late, {0: PROMPT})
    )
    assert np.array_equal(one[:window], other[:window]) and not np.array_equal(one[2 * window :], other[2 * window :])


@pytest.mark.parametrize("name", ["wan-2.1", "animatediff"])
def test_one_prompt_in_many_shots_is_one_prompt(name: str, engine_of: EngineOf) -> None:
    engine, (window, _, frames) = engine_of(name), LENGTHS.get(name, (21, 32, 56))
    story = {0: PROMPT, window: PROMPT, 2 * window: PROMPT}
    told = engine.render(asked(name, "replay", prompt="", story=story, frames=frames)).frames
    assert np.array_equal(told, engine.render(asked(name, "replay", frames=frames)).frames)


# --- retries, redo
# ------------------------------------------------------------------------------------------------------------


def test_a_segment_whose_seam_shows_is_tried_again_and_the_best_is_taken(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from videogen.metrics import seams
    from videogen.metrics.freeze import Freeze

    engine, request = engine_of("wan-2.1"), asked("wan-2.1", "independent", retries=2)
    ratios = iter([3.0, 2.0, 2.5, 1.0, 1.0, 1.0])
    clean = seams.Seam(0, 1.0, 1.0, 1.0, 0.0, 1.0)
    monkeypatch.setattr(
        "videogen.longvideo.segment_checks.seam", lambda frames, at, beat: replace(clean, frame=at, ratio=next(ratios))
    )
    monkeypatch.setattr("videogen.longvideo.segment_checks.freeze", lambda *_: Freeze(0, 0, 0))
    monkeypatch.setattr("videogen.metrics.long_clip.LongClip.faults_of_next", lambda *_, **__: ())
    video = engine.render(request)
    assert video.manifest is not None
    rows = video.manifest["measured"]["long"]["segments"]
    assert (
        [row["attempt"] for row in rows][:3] == [0, 1, 0]
        and rows[1]["faults"] == ["jump at 0"]
        and "faults" not in rows[2]
    )
    again = engine.render(replace(request, retries=0)).frames
    window = request.window
    assert np.array_equal(video.frames[:window], again[:window]) and not np.array_equal(
        video.frames[window:], again[window:]
    )


@pytest.mark.parametrize(("name", "policy"), TOGETHER)
def test_redo_changes_one_segment_and_no_other(name: str, policy: str, engine_of: EngineOf, tmp_path: Path) -> None:
    engine, output = engine_of(name), tmp_path / "clip.mp4"
    request = asked(name, policy, seed=3)
    done = engine.render_long(request, output, keep_job=True)
    spans = [(row["first_frame"], row["latents"]) for row in done.manifest["measured"]["long"]["segments"]]
    before = _latents(output)
    told = engine.redo(output, 1)
    after = _latents(output)
    start = spans[0][1]
    changed = slice(start, start + spans[1][1])
    assert not torch.equal(before[:, :, changed], after[:, :, changed])
    before[:, :, changed] = after[:, :, changed] = 0
    assert torch.equal(before, after) and len(Video.open(output)) == request.frames
    assert [row.get("redone", 0) for row in told.manifest["measured"]["long"]["segments"]][:2] == [0, 1]


def _latents(output: Path) -> torch.Tensor:
    from videogen.longvideo.journal.job import job_folder, read_request

    folder = job_folder(output)
    with Journal.open(folder, read_request(folder)) as journal:
        return journal.latents(0, journal.latents_done)


def test_damaged_chunks_are_made_anew_and_the_frames_are_the_same(engine_of: EngineOf, tmp_path: Path) -> None:
    """Far back, too, where what a segment leaves to the next is no longer kept; segments redone by hand stay."""
    engine, request, output = engine_of("wan-2.1"), asked("wan-2.1", "replay", frames=97, seed=3), tmp_path / "a.mp4"
    segments = len(engine.render_long(request, output, keep_job=True).manifest["measured"]["long"]["segments"])
    engine.redo(output, 1)
    before = _latents(output)
    assert segments > 5
    for index in (segments - 1, 4):
        chunk = next((tmp_path / "a.mp4.job" / "chunks").glob(f"{index:06d}-*"))
        data = bytearray(chunk.read_bytes())
        data[-3] ^= 1
        chunk.write_bytes(data)
        again = engine.render_long(request, output, overwrite=True, keep_job=True)
        assert any("damaged" in note for note in again.notes)
        assert again.resumed == (index if index > 4 else 1), "the memories of segments 1 to 3 were let go"
        assert torch.equal(_latents(output), before)


def test_with_retries_all_joins_are_judged_and_a_stop_is_a_fault(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(engine_of("wan-2.1"), asked("wan-2.1", "cono", retries=1))
    segment = run.segments[1]
    generator = torch.Generator().manual_seed(0)
    tail, made = (torch.randn(1, 4, n, 4, 4, generator=generator) for n in (6, segment.stop - segment.start))
    with torch.inference_mode():
        broken, worst = faults(run.backbone, run.request, segment, tail, made, run.meter, same_shot=True)
        monkeypatch.setattr(
            run.backbone, "decode", lambda latents: torch.full((1, 4 * latents.shape[2] - 3, 32, 32, 3), 0.5)
        )
        frozen, _ = faults(run.backbone, run.request, segment, tail, made, run.meter, same_shot=True)
    assert len(segment.joins) == 2 and worst >= 0 and all(" at " in fault for fault in broken)
    assert {"stops", "still"} & set(frozen)


def test_a_segment_that_strays_or_repeats_is_a_fault_but_not_where_a_shot_begins(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []

    def faults_of_next(meter: Any, frames: np.ndarray, *, same_shot: bool) -> tuple[str, ...]:
        told.append(same_shot)
        return ("colour strays",) if same_shot else ("repeats",)

    monkeypatch.setattr("videogen.metrics.long_clip.LongClip.faults_of_next", faults_of_next)
    story = {0: PROMPT, 30: "a blue ball moves right"}
    video = engine_of("wan-2.1").render(asked("wan-2.1", "replay", retries=1, prompt="", story=story))
    assert video.manifest is not None
    rows = video.manifest["measured"]["long"]["segments"]
    assert told[::2] == told[1::2] == [False, *[True] * (len(rows) - 2)] and len(rows) > 2
    assert "repeats" in rows[1]["faults"] and "colour strays" in rows[2]["faults"] and "faults" not in rows[0]


def test_a_segment_is_held_against_its_own_shot_alone(engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder may hold back a new shot's first frames, and while prompts blend nothing has its own colours yet."""
    story = "[0-20] a red ball\n[20-44, cut] a blue ball\n[44-80, blend(8)] a green ball"
    request = asked("animatediff", "overlap", retries=1, prompt="", story=story, frames=80, fps=1.0)
    run = run_of(engine_of("animatediff"), request)
    assert run.breaks == [20, 44, 52]
    told: list[
        tuple[int, int, int, bool]
    ] = []  # the last frame seen, the segment's first and last, whether it is told to be alike

    def held_against(_backbone: Any, _request: Any, segment: Any, *_: Any, same_shot: bool) -> tuple[list[str], float]:
        first, stop = (
            run.shown.latent_map.frames_of(segment.scene.video_latent(at)).start for at in (segment.start, segment.stop)
        )
        told.append((run.meter.count - 1, first, stop - 1, same_shot))
        return [], 0.0

    monkeypatch.setattr("videogen.longvideo.run.faults", held_against)
    list(run.frames())
    for seen, first, last, same in told[1:]:
        assert same == (len({bisect(run.breaks, frame) for frame in (seen, first, last)}) == 1), (seen, first, last)
    assert {same for *_, same in told} == {True, False}


def test_a_kill_after_the_file_has_its_name_is_put_right(engine_of: EngineOf, tmp_path: Path) -> None:
    engine, request, output = engine_of("wan-2.1"), asked("wan-2.1", "replay", seed=3), tmp_path / "a.mp4"
    done = engine.render_long(request, output, keep_job=True)
    again = engine.render_long(request, output)
    assert again.notes == ("the video was whole already",)
    assert json.dumps(again.manifest, sort_keys=True) == json.dumps(done.manifest, sort_keys=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(InputError, match="exists"):
        engine.render_long(request, output)


def test_a_job_of_which_nothing_was_done_takes_another_request(engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of("wan-2.1")
    with pytest.raises(Cancelled, match=r"0 of \d+ segments are kept in a\.mp4\.job"):
        engine.render_long(
            asked("wan-2.1", "replay", seed=3), tmp_path / "a.mp4", progress=lambda progress: progress.step < 1
        )
    done = engine.render_long(asked("wan-2.1", "replay", seed=4), tmp_path / "a.mp4")
    assert done.resumed == 0 and any("no chunk was done" in note for note in done.notes)


@pytest.mark.parametrize("policy", ["replay", "overlap", "co_denoise", "window_attention"])
def test_a_motion_goes_through_all_segments(policy: str, engine_of: EngineOf) -> None:
    """Also where the last clip reaches beyond the video's end; and what moves changes the frames."""
    from videogen.motion import Camera

    name = "animatediff" if policy == "window_attention" else "wan-2.1"
    moving = asked(name, policy, motion=Camera(pan=8), motion_backend="warped_noise", seed=3)
    still = asked(name, policy, seed=3)
    frames = engine_of(name).render(moving).frames
    assert len(frames) == moving.frames and not np.array_equal(frames, engine_of(name).render(still).frames)


@pytest.mark.parametrize(
    ("name", "values", "kind", "says"),
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
            "temporal layers; use replay",
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
            "frames=20 is not 4k\\+1",
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
def test_what_cannot_be_done_is_refused(
    name: str, values: dict[str, Any], kind: type[Exception], says: str, engine_of: EngineOf
) -> None:
    from videogen.motion import Camera

    values = {key: Camera(pan=4) if value == "CAMERA" else value for key, value in values.items()}
    with pytest.raises(kind, match=says):
        engine_of(name).render(asked(name, **values))


def test_seeds_that_would_have_no_effect_are_refused(engine_of: EngineOf) -> None:
    story = [{"prompt": "a", "seconds": 1.5}, {"prompt": "b", "seed": 4}]
    with pytest.raises(UnsupportedError, match="shot 2's seed=4 has no effect under continuity look_back"):
        engine_of("wan-2.1").render(asked("wan-2.1", "cono", prompt="", story=story))


def test_a_changed_request_is_refused_by_the_field_s_name(engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of("wan-2.1")
    engine.render_long(asked("wan-2.1", "replay", seed=3), tmp_path / "a.mp4", keep_job=True)
    with pytest.raises(ResumeError, match=r"request\.seed was 3 and is 4"):
        engine.render_long(asked("wan-2.1", "replay", seed=4), tmp_path / "a.mp4", overwrite=True)
    with pytest.raises(ResumeError, match="holds no job"):
        engine.redo(tmp_path / "other.mp4", 0)
    with pytest.raises(InputError, match="segment 99 is not there"):
        engine.redo(tmp_path / "a.mp4", 99)


def test_every_variant_has_its_policies() -> None:
    assert {name.partition("+")[0] for name in ALL} == set(VARIANTS)
