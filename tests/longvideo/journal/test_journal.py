"""Journal: what it stores, what it refuses, what it finds damaged."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.longvideo.journal.stored import REQUEST, check, fill, make_segment, same
from videogen import InputError, ResumeError
from videogen.core.stored_keys import SPRITE_KEYS
from videogen.longvideo import Journal, SegmentRecord, job_folder, read_request
from videogen.longvideo.journal.disk import seal, unseal
from videogen.longvideo.journal.job import read_started_job


def test_segments_come_back_as_they_were(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "deep" / "a.job", REQUEST) as journal:
        assert len(journal) == journal.latents_done == 0 and journal.notes == []
        for index in range(3):
            journal.append(make_segment(index))
            check(journal, index + 1)
    with Journal.open(tmp_path / "deep" / "a.job", REQUEST) as journal:
        check(journal, 3)
        assert journal.notes == [] and [journal.span(index) for index in range(3)] == [(0, 3), (3, 6), (6, 9)]
    assert read_request(tmp_path / "deep" / "a.job") == REQUEST


def test_latents_are_read_across_segments(tmp_path: Path) -> None:
    fill(tmp_path / "job", 4)
    latents = torch.cat([make_segment(index).latents for index in range(4)], 2)
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        for start, stop in [(0, 12), (2, 4), (3, 6), (5, 12), (11, 12), (4, 5)]:
            assert torch.equal(journal.latents(start, stop), latents[:, :, start:stop])


def test_tensors_that_share_memory_or_are_not_contiguous(tmp_path: Path) -> None:
    latents = make_segment(0).latents
    odd = SegmentRecord(
        0, 0, latents.transpose(3, 4), {"view": latents[:, :, -1:], "half": latents.half()[..., ::2]}, {"pair": (1, 2)}
    )
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        journal.append(odd)
        stored = journal.read(0)
    assert torch.equal(stored.latents, latents.transpose(3, 4)) and torch.equal(
        stored.tensors["view"], latents[:, :, -1:]
    )
    assert torch.equal(stored.tensors["half"], latents.half()[..., ::2]) and stored.state == {"pair": [1, 2]}


def test_a_finished_job_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "job", 2)
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        journal.finish()
    assert not list(tmp_path.iterdir())
    fill(tmp_path / "job", 1)
    (tmp_path / ".job.finished-77" / "chunks").mkdir(parents=True)  # what a kill within finish() leaves
    (tmp_path / ".jobs.finished-77").mkdir()
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        check(journal, 1)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".jobs.finished-77", "job"]


def test_a_segment_is_replaced_between_its_neighbours(tmp_path: Path) -> None:
    fill(tmp_path / "job", 3)
    before = {path.name for path in (tmp_path / "job" / "chunks").iterdir()}
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        journal.replace(make_segment(1, version=1))
        assert same(journal.read(1), make_segment(1, version=1))
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        assert (
            same(journal.read(1), make_segment(1, version=1))
            and same(journal.read(2), make_segment(2))
            and same(journal.read(0), make_segment(0))
        )
    after = {path.name for path in (tmp_path / "job" / "chunks").iterdir()}
    assert len(after) == len(before) and len(after - before) == 1  # the old one's tensors are gone


def test_the_folder_of_an_output() -> None:
    assert job_folder("clips/a.mp4") == Path.cwd() / "clips" / "a.mp4.job"


def changed(**values: Any) -> dict[str, Any]:
    return {**REQUEST, **values}


CHANGED = [
    pytest.param(
        changed(prompt="a blue ball"),
        "prompt was 'a red ball' and is 'a blue ball'; give that one, or delete",
        id="prompt",
    ),
    pytest.param(changed(seed=4), "seed was 3 and is 4", id="seed"),
    pytest.param(changed(size=(64, 96)), r"size was \[64, 64\] and is \[64, 96\]", id="size"),
    pytest.param(changed(model={"name": "embedded", "hash": "abd"}), "model.hash was 'abc' and is 'abd'", id="weights"),
    pytest.param(changed(model="embedded"), "model was {'hash'.* and is 'embedded'", id="another kind of value"),
    pytest.param({k: v for k, v in REQUEST.items() if k != "seed"}, "seed was 3 and is not there", id="a field less"),
    pytest.param(changed(steps=9), "steps was not there and is 9", id="a field more"),
    pytest.param(changed(seed=True), "seed was 3 and is True", id="true for a number"),
    pytest.param(
        dict.fromkeys("abcdef", 1), "a was not there and is 1; b was .*; c was .*; and d, e, f, model", id="all"
    ),
]


def test_a_job_from_before_attention_policies_had_names_is_resumed(tmp_path: Path) -> None:
    sparse = {"recall": None, "sparsity": 0.8}
    before, now = ({"request": {"attention": sparse | how}} for how in ({"window": True}, {"policy": "window"}))
    with Journal.open(tmp_path / "job", before) as journal:
        for index in range(2):
            journal.append(make_segment(index))
    assert read_request(tmp_path / "job") == now
    with Journal.open(tmp_path / "job", now) as journal:
        check(journal, 2)


_EARLIER, _PRESENT = next(iter(SPRITE_KEYS.items()))


def _with_image(key: str) -> dict[str, Any]:
    return {"kind": "cut_drag", "sprites": [{"path": [[1, 2], [3, 4]], key: "ball.png"}]}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param(
            {"attention": {"sparsity": 0.8, "window": True}},
            {"attention": {"sparsity": 0.8, "policy": "window"}},
            id="attention's flag",
        ),
        pytest.param(
            {"attention": {"recall": 0.9, "window": False}, "motion_picture": None},
            {"attention": {"recall": 0.9, "policy": "recall"}, "first_frame": None},
            id="all keys of the first version",
        ),
        pytest.param(
            {"attention": {"recall": 0.9, "policy": "recall"}, "motion_picture": "a.png"},
            {"attention": {"recall": 0.9, "policy": "recall"}, "first_frame": "a.png"},
            id="keys of a version between",
        ),
        pytest.param({"motion": [_with_image(_EARLIER)]}, {"motion": [_with_image(_PRESENT)]}, id="a sprite's image"),
        pytest.param(
            {"story": {"shots": [{"motion": [_with_image(_EARLIER)]}, {"prompt": "a ball"}]}},
            {"story": {"shots": [{"motion": [_with_image(_PRESENT)]}, {"prompt": "a ball"}]}},
            id="a sprite's image in a shot",
        ),
    ],
)
def test_a_job_whose_damaged_request_had_old_keys_is_resumed_and_the_request_rewritten_as_it_was(
    before: dict[str, Any], now: dict[str, Any], tmp_path: Path
) -> None:
    with Journal.open(tmp_path / "job", {"request": before}) as journal:
        journal.append(make_segment(0))
    job = tmp_path / "job" / "job.json"
    written = job.read_bytes()
    assert read_request(tmp_path / "job") == {"request": now}
    job.write_bytes(written[:-9])
    with pytest.raises(ResumeError, match="segments belong to another request"):
        Journal.open(tmp_path / "job", {"request": {**now, "seed": 4}})
    with Journal.open(tmp_path / "job", {"request": now}) as journal:
        check(journal, 1)
        assert "was damaged or missing; its segments belong to this request" in journal.notes[0]
    assert job.read_bytes() == written


@pytest.mark.parametrize(("request_", "message"), CHANGED)
def test_a_changed_request_is_refused_by_field(request_: dict[str, Any], message: str, tmp_path: Path) -> None:
    fill(tmp_path / "job", 2)
    with pytest.raises(ResumeError, match=message):
        Journal.open(tmp_path / "job", request_)
    with Journal.open(
        tmp_path / "job", changed(seed=3.0, size=(64, 64))
    ) as journal:  # the same, in another order; and not locked
        check(journal, 2)


def test_a_job_stored_under_old_keys_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And stays as it is, since its segments' entries have the digest of what is stored."""
    fill(tmp_path / "job", 2)
    before = (tmp_path / "job" / "job.json").read_bytes()
    monkeypatch.setattr("videogen.longvideo.journal.job.JOB_KEYS", {"prompt": "text", "model.hash": "digest"})
    renamed = {**REQUEST, "text": REQUEST["prompt"], "model": {"name": "embedded", "digest": "abc"}}
    del renamed["prompt"]
    assert read_request(tmp_path / "job") == renamed
    started = read_started_job(tmp_path / "job")
    assert started is not None and started[0] == renamed
    with pytest.raises(ResumeError, match="text was 'a red ball' and is 'a blue ball'"):
        Journal.open(tmp_path / "job", {**renamed, "text": "a blue ball"})
    with Journal.open(tmp_path / "job", renamed) as journal:
        check(journal, 2)
        journal.append(make_segment(2))
        assert journal.notes == []
    with Journal.open(tmp_path / "job", renamed) as journal:
        check(journal, 3)
    assert (tmp_path / "job" / "job.json").read_bytes() == before


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_job_of_another_version_is_refused_and_left_alone(version: Any, tmp_path: Path) -> None:
    fill(tmp_path / "job", 2)
    job = tmp_path / "job" / "job.json"
    job.write_bytes(seal({**unseal(job.read_bytes()), "format": version}))
    before = {
        path: path.read_bytes()
        for path in sorted((tmp_path / "job").rglob("*"))
        if path.is_file() and path.name != "lock"
    }
    for call in (lambda: Journal.open(tmp_path / "job", REQUEST), lambda: read_request(tmp_path / "job")):
        with pytest.raises(
            ResumeError, match=f"a job of format {version!r}, and this version resumes format 1 only; finish it with"
        ):
            call()
    assert before == {path: path.read_bytes() for path in before} and len(before) == 5


def test_one_flipped_byte_anywhere_is_found_and_what_came_before_it_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "job", 3)
    rng, found = random.Random(0), []
    files = [p for p in sorted((tmp_path / "job").rglob("*")) if p.is_file() and p.name != "lock"]
    assert len(files) == 7
    for path in files:
        size = path.stat().st_size
        for at in {0, size - 1, *(rng.randrange(size) for _ in range(8))}:
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "job", copy)
            data = bytearray(path.read_bytes())
            data[at] ^= 1 << rng.randrange(8)
            (copy / path.relative_to(tmp_path / "job")).write_bytes(data)
            caplog.clear()
            with caplog.at_level(logging.WARNING, "videogen"), Journal.open(copy, REQUEST) as journal:
                expected = 3 if path.name == "job.json" else int(path.name[:6])
                check(journal, expected)
                assert len(journal.notes) == 1 and "damaged" in journal.notes[0] and journal.notes[0] in caplog.text
                for index in range(expected, 3):
                    journal.append(make_segment(index))
            with Journal.open(copy, REQUEST) as journal:  # fixed
                check(journal, 3)
                assert journal.notes == []
            found.append(path)
            shutil.rmtree(copy)
    assert set(found) == set(files)


def lose(name: str) -> Callable[[Path], None]:
    def work(job: Path) -> None:
        for path in job.glob(name):
            path.unlink()

    return work


def cut(name: str) -> Callable[[Path], None]:
    def work(job: Path) -> None:
        for path in job.glob(name):
            path.write_bytes(path.read_bytes()[:-7])

    return work


def swap(job: Path) -> None:
    (job / "chunks" / "000001.json").write_bytes((job / "chunks" / "000002.json").read_bytes())


RESUMED = "resuming after segment {}, the last good one"
DAMAGE = [
    pytest.param(
        lose("chunks/000001-*"), 1, "segment 1 of 3", "No such file", RESUMED.format(0) + ". 1 after", id="no tensors"
    ),
    pytest.param(
        lose("chunks/000001.json"), 1, "segment 1 of 2", "its entry is missing", RESUMED.format(0), id="no entry"
    ),
    pytest.param(
        cut("chunks/000002-*"), 2, "segment 2 of 3", "its bytes are not those that", RESUMED.format(1), id="cut tensors"
    ),
    pytest.param(
        cut("chunks/000000.json"),
        0,
        "segment 0 of 3",
        "none is left: starting over",
        "2 after it are regenerated",
        id="cut first",
    ),
    pytest.param(
        swap, 1, "segment 1 of 3", "its entry belongs to another job", "1 after it", id="an entry in another's place"
    ),
    pytest.param(
        lose("job.json"),
        3,
        "job.json was damaged or missing",
        "its segments belong to this request",
        "rewritten",
        id="no job.json",
    ),
]


@pytest.mark.parametrize(("damage", "left", "what", "why", "then"), DAMAGE)
def test_damage_falls_back_to_the_last_good_segment(
    damage: Callable[[Path], None], left: int, what: str, why: str, then: str, tmp_path: Path
) -> None:
    fill(tmp_path / "job", 3)
    damage(tmp_path / "job")
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        check(journal, left)
        (note,) = journal.notes
    assert what in note and why in note and then in note
    fill(tmp_path / "job", 3)
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        check(journal, 3)


def test_a_job_without_its_request_is_resumed_by_the_same_request_only(tmp_path: Path) -> None:
    fill(tmp_path / "job", 2)
    (tmp_path / "job" / "job.json").write_bytes(b"x")
    with pytest.raises(ResumeError, match="damaged or missing, and its segments belong to another request"):
        Journal.open(tmp_path / "job", changed(seed=4))
    with pytest.raises(
        ResumeError, match=r"job\.json is damaged: .*; give the command that started the job, which fixes it"
    ):
        read_request(tmp_path / "job")
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        check(journal, 2)
    assert read_request(tmp_path / "job") == REQUEST


def test_a_damaged_job_without_segments_starts_over(tmp_path: Path) -> None:
    fill(tmp_path / "job", 0)
    (tmp_path / "job" / "job.json").write_bytes(b"x")
    with Journal.open(tmp_path / "job", changed(seed=4)) as journal:
        assert len(journal) == 0 and "no segment was done; the job starts over" in journal.notes[0]


def test_damage_while_the_journal_is_open_is_found_on_reading(tmp_path: Path) -> None:
    fill(tmp_path / "job", 2)
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        cut("chunks/000001-*")(tmp_path / "job")
        with pytest.raises(ResumeError, match=r"segment 1 of .* is damaged .*; give the same command to regenerate it"):
            journal.latents(0, 6)
        assert same(journal.read(0), make_segment(0))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    fill(tmp_path / "job", 2)
    theirs = {"job/.DS_Store", "job/mine.txt", "job/chunks/mine.txt"}
    for name in (*theirs, "job/chunks/.000009.json.partial", "job/chunks/000009-0123456789abcdef.safetensors"):
        (tmp_path / name).write_text("x")
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        check(journal, 2)
    left = {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"x"
    }
    assert left == theirs


LATENTS = make_segment(2).latents
REFUSED = [
    pytest.param(
        make_segment(3), InputError, "segment 3 from latent 9 on is not the next one, which is 2 from 6 on", id="gap"
    ),
    pytest.param(make_segment(1), InputError, "segment 1 from latent 3 on is not the next", id="twice"),
    pytest.param(SegmentRecord(2, 7, LATENTS), InputError, "from latent 7 on is not the next", id="latents missing"),
    pytest.param(SegmentRecord(2, 6, LATENTS[0]), InputError, r"latents \[4, 3, 4, 4\] are not", id="four axes"),
    pytest.param(
        SegmentRecord(2, 6, LATENTS, {"latents": LATENTS}), InputError, "give the tensor another", id="name taken"
    ),
    pytest.param(SegmentRecord(2, 6, LATENTS, {}, {"x": float("nan")}), ValueError, "JSON", id="NaN in the state"),
    pytest.param(SegmentRecord(2, 6, LATENTS, {}, {"x": LATENTS}), TypeError, "JSON", id="tensor in the state"),
]


@pytest.mark.parametrize(("segment", "error", "message"), REFUSED)
def test_a_refused_segment_leaves_the_job_as_it_was(
    segment: SegmentRecord, error: type[Exception], message: str, tmp_path: Path
) -> None:
    fill(tmp_path / "job", 2)
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        with pytest.raises(error, match=message):
            journal.append(segment)
        check(journal, 2)
    with Journal.open(tmp_path / "job", REQUEST) as journal:
        check(journal, 2)
        assert journal.notes == []


ABSENT = [
    pytest.param(
        lambda j: j.replace(SegmentRecord(1, 3, LATENTS[:, :, :2])),
        "has latents 3 to 6, its replacement 3 to 5",
        id="shorter",
    ),
    pytest.param(
        lambda j: j.replace(make_segment(2)), "segment 2 is not in this journal, which has 2", id="replacing none"
    ),
    pytest.param(lambda j: j.read(-1), "segment -1 is not in this journal", id="before the first"),
    pytest.param(
        lambda j: j.latents(4, 7), "latent frames 4 to 7 are not in this journal, which has 6", id="too many latents"
    ),
]


@pytest.mark.parametrize(("call", "message"), ABSENT)
def test_absent_segments_and_latents(call: Callable[[Journal], Any], message: str, tmp_path: Path) -> None:
    fill(tmp_path / "job", 2)
    with Journal.open(tmp_path / "job", REQUEST) as journal, pytest.raises(InputError, match=message):
        call(journal)


def written(name: str) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
        return Journal.open(folder / "job", REQUEST)

    return run


FOLDERS = [
    pytest.param(written("job"), InputError, "cannot store a job in .*File exists", id="a file in the way"),
    pytest.param(
        written("job/photo.jpg"),
        InputError,
        r"has other content, such as photo\.jpg; choose another",
        id="another folder",
    ),
    pytest.param(lambda p: Journal.open(p / "a\0b", REQUEST), InputError, "cannot store a job in", id="NUL"),
    pytest.param(read_request, ResumeError, r"has no job to resume: it has no job\.json", id="no job"),
    pytest.param(lambda p: Journal.open(p / "job", {"x": LATENTS}), TypeError, "JSON", id="tensor in the request"),
]


@pytest.mark.parametrize(("call", "error", "message"), FOLDERS)
def test_folders_that_cannot_be_a_job(
    call: Callable[[Path], Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        call(tmp_path)
