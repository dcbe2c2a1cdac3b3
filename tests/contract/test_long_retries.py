"""Segments rendered again: retries for faults, `redo`, damaged journals, interrupted jobs."""

from __future__ import annotations

import json
import shutil
from bisect import bisect
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract.long_cases import COMBINED, PROMPT, EngineOf, long_request, start_run
from videogen import Cancelled, InputError, ResumeError, Video
from videogen.longvideo.join_seams import join_seams, seam_notes
from videogen.longvideo.journal.job import job_folder, read_request
from videogen.longvideo.journal.journal import Journal
from videogen.longvideo.segment_checks import find_faults
from videogen.metrics.seams import Seam


def test_a_segment_with_a_visible_seam_is_rendered_again_and_the_best_attempt_is_used(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from videogen.metrics import seams
    from videogen.metrics.freeze import Freeze

    engine, request = engine_of("wan-2.1"), long_request("wan-2.1", "independent", retries=2)
    ratios = iter([3.0, 2.0, 2.5, 1.0, 1.0, 1.0])
    clean = seams.Seam(0, 1.0, 1.0, 1.0, 0.0, 1.0)
    monkeypatch.setattr(
        "videogen.longvideo.segment_checks.seam",
        lambda frames, at, frames_per_latent: replace(clean, frame=at, ratio=next(ratios)),
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


@pytest.mark.parametrize(("name", "policy"), COMBINED)
def test_redo_changes_one_segment_and_no_other(name: str, policy: str, engine_of: EngineOf, tmp_path: Path) -> None:
    """Neither in its latents nor in its frames, of which a causal decoder decodes later ones from earlier latents."""
    engine, output = engine_of(name), tmp_path / "clip"  # a folder of PNGs, which are lossless
    request = long_request(name, policy, seed=3)
    done = engine.render_long(request, output, keep_job=True)
    rows = done.manifest["measured"]["long"]["segments"]
    before, first = read_latents(output), Video.open(output).frames
    redone = engine.redo(output, 1)
    after, second = read_latents(output), Video.open(output).frames
    start = rows[0]["latents"]
    changed = slice(start, start + rows[1]["latents"])
    assert not torch.equal(before[:, :, changed], after[:, :, changed])
    assert torch.equal(before[:, :, :start], after[:, :, :start])
    assert torch.equal(before[:, :, changed.stop :], after[:, :, changed.stop :])
    own = slice(rows[1]["first_frame"], [*(row["first_frame"] for row in rows[2:]), request.frames][0])
    assert len(second) == request.frames and not np.array_equal(second[own], first[own])
    assert np.array_equal(second[: own.start], first[: own.start])
    assert np.array_equal(second[own.stop :], first[own.stop :])
    assert [row.get("redone", 0) for row in redone.manifest["measured"]["long"]["segments"]][:2] == [0, 1]


def test_versions_are_stored_and_restored_and_others_keep_their_frames(engine_of: EngineOf, tmp_path: Path) -> None:
    engine, output = engine_of("wan-2.1"), tmp_path / "clip"
    request = long_request("wan-2.1", "replay", frames=97, seed=3)
    done = engine.render_long(request, output, keep_job=True)
    starts = [*(row["first_frame"] for row in done.manifest["measured"]["long"]["segments"]), request.frames]
    manifest = json.dumps(done.manifest["measured"], sort_keys=True)
    videos = [Video.open(output).frames]
    changes = [(1, None), (2, None), (1, None), (1, 0), (2, 0)]  # (segment, None: regenerated, 0: restored)
    for segment, attempt in changes:
        again = engine.redo(output, segment) if attempt is None else engine.restore(output, segment, attempt=attempt)
        now, before = Video.open(output).frames, videos[-1]
        own = slice(starts[segment], starts[segment + 1])
        assert not np.array_equal(now[own], before[own]), (segment, attempt)
        assert np.array_equal(np.delete(now, np.r_[own], 0), np.delete(before, np.r_[own], 0)), (segment, attempt)
        videos.append(now)
    assert np.array_equal(videos[-1], videos[0]) and json.dumps(again.manifest["measured"], sort_keys=True) == manifest
    folder = job_folder(output)
    with Journal.open(folder, read_request(folder)) as journal:
        assert [journal.versions(index) for index in range(4)] == [[], [0, 1, 2], [0, 1], []]
        assert journal.state(1).get("redone", 0) == 0 and torch.equal(
            journal.read(1).latents, journal.read_version(1, 0).latents
        )
    engine.restore(output, 1, attempt=2)
    assert np.array_equal(Video.open(output).frames[starts[1] : starts[2]], videos[3][starts[1] : starts[2]])
    for call, message in (
        (lambda: engine.restore(output, 1, attempt=7), r"segment 1 has no version 7; stored are: 0, 1, 2"),
        (lambda: engine.restore(output, 3, attempt=1), r"segment 3 has no version 1; stored are: none"),
        (lambda: engine.redo(output, 1, attempt=1), r"attempt=1 of segment 1 is stored already: restore it"),
        (lambda: engine.restore(output, 99), "segment 99 is not there"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_a_segment_regenerated_before_versions_were_stored_is_the_one_that_later_ones_follow(
    engine_of: EngineOf, tmp_path: Path
) -> None:
    engine, output = engine_of("wan-2.1"), tmp_path / "clip"
    engine.render_long(long_request("wan-2.1", "replay", seed=3), output, keep_job=True)
    engine.redo(output, 1)
    shutil.rmtree(job_folder(output) / "versions")
    rendered = engine.restore(output, 1, attempt=1)  # the current one: the video is only written again
    before = Video.open(output).frames
    stop = rendered.manifest["measured"]["long"]["segments"][2]["first_frame"]
    engine.redo(output, 1)
    assert np.array_equal(Video.open(output).frames[stop:], before[stop:])
    assert not np.array_equal(Video.open(output).frames[:stop], before[:stop])


def test_a_join_that_became_visible_is_a_note() -> None:
    calm = {"ratio": 1.0, "jerk": 1.0, "pace": 1.0, "colour_de": 0.0, "sharpness": 1.0}

    def manifest(**ratios: float) -> dict[str, Any]:
        seams = [calm | {"frame": int(frame[1:]), "ratio": ratio} for frame, ratio in ratios.items()]
        rows = [{"first_frame": frame} for frame in (0, 20, 40)]
        return {"measured": {"long": {"segments": rows, "report": {"seams": seams}}}}

    before, after = (join_seams(manifest(**ratios), 1) for ratios in ({"f20": 1.5, "f40": 1.1}, {"f20": 1.6, "f40": 3}))
    assert [note.partition(":")[0] for note in seam_notes(1, before, after)] == [
        "the join at the end of segment 1, before frame 40, is visible (jump; seam ratio 3.00, was 1.10)"
    ]
    assert join_seams(manifest(f20=1.5), 0) == {"start": None, "end": Seam(20, 1.5, 1.0, 1.0, 0.0, 1.0)}
    assert list(seam_notes(1, after, before)) == [] and join_seams({}, 1) == {"start": None, "end": None}


def read_latents(output: Path) -> torch.Tensor:
    folder = job_folder(output)
    with Journal.open(folder, read_request(folder)) as journal:
        return journal.latents(0, journal.latents_done)


def test_damaged_segments_are_rendered_again_and_the_frames_are_the_same(engine_of: EngineOf, tmp_path: Path) -> None:
    """Also far back, where the memory of the segment before was evicted; regenerated segments stay as they are."""
    engine, request, output = (
        engine_of("wan-2.1"),
        long_request("wan-2.1", "replay", frames=97, seed=3),
        tmp_path / "a.mp4",
    )
    segments = len(engine.render_long(request, output, keep_job=True).manifest["measured"]["long"]["segments"])
    engine.redo(output, 1)
    before = read_latents(output)
    assert segments > 5
    for index in (segments - 1, 4):
        file = next((tmp_path / "a.mp4.job" / "chunks").glob(f"{index:06d}-*"))
        data = bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
        again = engine.render_long(request, output, overwrite=True, keep_job=True)
        assert any("damaged" in note for note in again.notes)
        assert again.resumed == (index if index > 4 else 1), "the memories of segments 1 to 3 were evicted"
        assert torch.equal(read_latents(output), before)


def test_all_joins_are_checked_and_a_stop_is_a_fault(engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start_run(engine_of("wan-2.1"), long_request("wan-2.1", "cono", retries=1))
    segment = run.segments[1]
    generator = torch.Generator().manual_seed(0)
    tail, made = (torch.randn(1, 4, n, 4, 4, generator=generator) for n in (6, segment.stop - segment.start))
    with torch.inference_mode():
        broken, worst = find_faults(run.backbone, run.request, segment, tail, made, run.meter, same_shot=True)
        monkeypatch.setattr(
            run.backbone, "decode", lambda latents: torch.full((1, 4 * latents.shape[2] - 3, 32, 32, 3), 0.5)
        )
        frozen, _ = find_faults(run.backbone, run.request, segment, tail, made, run.meter, same_shot=True)
    assert len(segment.joins) == 2 and worst >= 0 and all(" at " in fault for fault in broken)
    assert {"stops", "still"} & set(frozen)


def test_drift_and_repetition_are_faults_but_not_where_a_shot_begins(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bool] = []

    def faults_of_next(meter: Any, frames: np.ndarray, *, same_shot: bool) -> tuple[str, ...]:
        compared.append(same_shot)
        return ("colour drifts",) if same_shot else ("repeats",)

    monkeypatch.setattr("videogen.metrics.long_clip.LongClip.faults_of_next", faults_of_next)
    story = {0: PROMPT, 30: "a blue ball moves right"}
    video = engine_of("wan-2.1").render(long_request("wan-2.1", "replay", retries=1, prompt="", story=story))
    assert video.manifest is not None
    rows = video.manifest["measured"]["long"]["segments"]
    assert compared[::2] == compared[1::2] == [False, *[True] * (len(rows) - 2)] and len(rows) > 2
    assert "repeats" in rows[1]["faults"] and "colour drifts" in rows[2]["faults"] and "faults" not in rows[0]


def test_a_segment_is_compared_with_its_own_shot_alone(engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder may hold back a new shot's first frames, and while prompts blend nothing has its own colours yet."""
    story = "[0-20] a red ball\n[20-44, cut] a blue ball\n[44-80, blend(8)] a green ball"
    request = long_request("animatediff", "overlap", retries=1, prompt="", story=story, frames=80, fps=1.0)
    run = start_run(engine_of("animatediff"), request)
    assert run.breaks == [20, 44, 52]
    compared: list[
        tuple[int, int, int, bool]
    ] = []  # last frame measured, first and last of the segment, whether they are of one shot

    def record_comparison(
        _backbone: Any, _request: Any, segment: Any, *_: Any, same_shot: bool
    ) -> tuple[list[str], float]:
        first, stop = (
            run.timeline.latent_map.frames_of(segment.scene.video_latent(at)).start
            for at in (segment.start, segment.stop)
        )
        compared.append((run.meter.count - 1, first, stop - 1, same_shot))
        return [], 0.0

    monkeypatch.setattr("videogen.longvideo.segment_renderer.find_faults", record_comparison)
    list(run.frames())
    for measured, first, last, same in compared[1:]:
        assert same == (len({bisect(run.breaks, frame) for frame in (measured, first, last)}) == 1), (
            measured,
            first,
            last,
        )
    assert {same for *_, same in compared} == {True, False}


def test_a_kill_after_the_file_has_its_name_leaves_only_the_folder_to_remove(
    engine_of: EngineOf, tmp_path: Path
) -> None:
    engine, request, output = engine_of("wan-2.1"), long_request("wan-2.1", "replay", seed=3), tmp_path / "a.mp4"
    done = engine.render_long(request, output, keep_job=True)
    again = engine.render_long(request, output)
    assert again.notes == ("the video was already complete",)
    assert json.dumps(again.manifest, sort_keys=True) == json.dumps(done.manifest, sort_keys=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(InputError, match="exists"):
        engine.render_long(request, output)


def test_a_finished_render_of_an_earlier_version_is_not_rendered_again(engine_of: EngineOf, tmp_path: Path) -> None:
    """Its manifest and its job have the keys of that version."""
    from dataclasses import asdict

    from videogen.attention import SparseAttention
    from videogen.longvideo.journal.disk import seal, unseal
    from videogen.media.metadata import encode, read_manifest, retag

    engine, output = engine_of("wan-2.1"), tmp_path / "a.mp4"
    request = long_request("wan-2.1", "replay", attention=asdict(SparseAttention(sparsity=0.5, policy="window")))
    engine.render_long(request, output, keep_job=True)
    job = tmp_path / "a.mp4.job" / "job.json"
    sealed, manifest = unseal(job.read_bytes()), read_manifest(output)
    assert manifest is not None
    for stored in (sealed["request"]["request"], manifest["request"]):
        assert stored["attention"].pop("policy") == "window" and stored.pop("first_frame") is None
        stored["attention"]["window"], stored["motion_picture"] = True, None
    job.write_bytes(seal(sealed))
    retag(output, encode(manifest), Fraction(engine.backbone.defaults.fps))
    assert engine.render_long(request, output).notes == ("the video was already complete",)


def test_a_job_without_a_finished_segment_takes_another_request(engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of("wan-2.1")
    with pytest.raises(Cancelled, match=r"0 of \d+ segments are stored in a\.mp4\.job"):
        engine.render_long(
            long_request("wan-2.1", "replay", seed=3), tmp_path / "a.mp4", progress=lambda progress: progress.step < 1
        )
    done = engine.render_long(long_request("wan-2.1", "replay", seed=4), tmp_path / "a.mp4")
    assert done.resumed == 0 and any("no segment was done" in note for note in done.notes)


def test_a_changed_request_is_refused_and_the_field_named(engine_of: EngineOf, tmp_path: Path) -> None:
    engine = engine_of("wan-2.1")
    engine.render_long(long_request("wan-2.1", "replay", seed=3), tmp_path / "a.mp4", keep_job=True)
    with pytest.raises(ResumeError, match=r"request\.seed was 3 and is 4"):
        engine.render_long(long_request("wan-2.1", "replay", seed=4), tmp_path / "a.mp4", overwrite=True)
    with pytest.raises(ResumeError, match="has no job to resume"):
        engine.redo(tmp_path / "other.mp4", 0)
    with pytest.raises(InputError, match="segment 99 is not there"):
        engine.redo(tmp_path / "a.mp4", 99)
