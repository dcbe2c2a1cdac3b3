"""Several clips per command: prompts x seeds, names, existing files, stops, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from videogen import Engine, NumericsError
from videogen.cli import render as render_module
from videogen.cli import several
from videogen.cli.clip_names import name_clips
from videogen.cli.clips_bar import ClipsBar
from videogen.cli.progress import Bar
from videogen.cli.settings import OutputSettings
from videogen.media.metadata import read_manifest
from videogen.media.reader import read_video
from videogen.request.request import RenderRequest
from videogen.sampling.progress import Progress

BALL, SQUARE = "a red ball", "a blue square"
CLIP = ("--frames", "5", "--size", "32x32", "--steps", "2")


@pytest.fixture
def render(run: Run, tiny: Path) -> Run:
    return lambda *arguments: run("render", *arguments, "--model", str(tiny), *CLIP)


def names(text: str) -> list[str]:
    return [Path(line).name for line in text.splitlines()]


def request_of(path: Path) -> tuple[str, int]:
    manifest = read_manifest(path)
    assert manifest is not None
    return manifest["request"]["prompt"], manifest["request"]["seed"]


def test_each_seed_has_its_file(render: Run) -> None:
    result = render(BALL, "--seeds", "1,2,7", "-o", "ball.mp4")
    assert result.code == 0, result.err
    assert names(result.out) == ["ball-seed1.mp4", "ball-seed2.mp4", "ball-seed7.mp4"]
    assert [request_of(Path(name)) for name in names(result.out)] == [(BALL, 1), (BALL, 2), (BALL, 7)]
    assert "3 clips, in" in result.err


def test_a_clip_alone_is_bit_for_bit_that_of_a_batch_of_one(render: Run) -> None:
    assert render(BALL, "--seeds", "4,5", "--batch-size", "1", "-o", "ball.mp4").code == 0
    assert render(BALL, "--seed", "5", "-o", "alone.mp4").code == 0
    assert read_video("ball-seed5.mp4") == read_video("alone.mp4")


def test_each_prompt_of_a_file_is_rendered_with_each_seed(render: Run, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"# two\n{BALL}\n\n  {SQUARE}  \n")
    result = render(
        "--prompts", "prompts.txt", "--count", "2", "--seed", "5", "--json", "-o", "{index:02d}-{seed}.webm"
    )
    clips = json.loads(result.out)
    assert result.code == 0, result.err
    assert [Path(clip["path"]).name for clip in clips] == ["01-5.webm", "02-6.webm", "03-5.webm", "04-6.webm"]
    found = [(clip["manifest"]["request"]["prompt"], clip["manifest"]["request"]["seed"]) for clip in clips]
    assert found == [(BALL, 5), (BALL, 6), (SQUARE, 5), (SQUARE, 6)]


def test_prompts_alone_have_seeds_of_their_own_and_default_names(render: Run, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(f"{BALL}\n{SQUARE}\n")
    result = render("--prompts", "prompts.txt")
    assert names(result.out) == ["a-red-ball-tiny-wan-0.mp4", "a-blue-square-tiny-wan-1.mp4"]


def test_files_that_exist_are_never_replaced_without_a_word(render: Run, tmp_path: Path) -> None:
    assert render(BALL, "--seeds", "1,2", "-o", "ball.mp4").code == 0
    before = (tmp_path / "ball-seed1.mp4").stat().st_mtime_ns
    refused = render(BALL, "--seeds", "1,3", "-o", "ball.mp4")
    assert refused.code == 2 and "ball-seed1.mp4 of 2 clips exist" in refused.err and "--skip-existing" in refused.err
    assert not (tmp_path / "ball-seed3.mp4").exists()
    skipped = render(BALL, "--seeds", "1,3", "-o", "ball.mp4", "--skip-existing")
    assert skipped.code == 0 and names(skipped.out) == ["ball-seed1.mp4", "ball-seed3.mp4"]
    assert "1 clip, 1 existed" in skipped.err
    assert (tmp_path / "ball-seed1.mp4").stat().st_mtime_ns == before
    assert render(BALL, "--seeds", "1,3", "-o", "ball.mp4", "--overwrite").code == 0
    assert (tmp_path / "ball-seed1.mp4").stat().st_mtime_ns > before


def test_a_run_without_anything_left_to_render_loads_no_model(render: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert render(BALL, "--count", "2", "-o", "ball.mp4").code == 0
    monkeypatch.setattr(Engine, "load", None)
    again = render(BALL, "--count", "2", "-o", "ball.mp4", "--skip-existing", "--json")
    assert again.code == 0 and [clip["skipped"] for clip in json.loads(again.out)] == [True, True]


def test_a_single_clip_that_exists_can_be_skipped(render: Run) -> None:
    assert render(BALL, "-o", "ball.mp4").code == 0
    again = render(BALL, "-o", "ball.mp4", "--skip-existing")
    assert again.code == 0 and names(again.out) == ["ball.mp4"] and "left as it is" in again.err


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_continue(
    render: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = render_module.save_video

    def save(video: Any, request: Any, output: OutputSettings) -> Any:
        if output.path.name == "ball-seed2.mp4":
            raise KeyboardInterrupt
        return real(video, request, output)

    monkeypatch.setattr(several, "save_video", save)
    command = (BALL, "--seeds", "1,2,3", "-o", "ball.mp4")
    stopped = render(*command)
    assert stopped.code == 130 and names(stopped.out) == ["ball-seed1.mp4"]
    assert "interrupted; 1 of 3 clips are finished: the same command with --skip-existing continues" in stopped.err
    monkeypatch.setattr(several, "save_video", real)
    assert render(*command, "--skip-existing").code == 0
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == [f"ball-seed{seed}.mp4" for seed in (1, 2, 3)]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_clip_that_fails_does_not_cost_the_others(
    as_json: bool, render: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Engine._render_batch

    def render_batch(engine: Engine, requests: Any, *given: Any) -> Any:
        if any(request.seed == 2 for request in requests):
            raise NumericsError("NaN or Inf at denoise")
        return real(engine, requests, *given)

    monkeypatch.setattr(Engine, "_render_batch", render_batch)
    result = render(BALL, "--seeds", "1,2,3", "-o", "ball.mp4", *(["--json"] if as_json else []))
    assert result.code == 4
    if as_json:
        assert [clip.get("kind") for clip in json.loads(result.out)] == [None, "NumericsError", None]
        return
    assert names(result.out) == ["ball-seed1.mp4", "ball-seed3.mp4"]
    assert "ball-seed2.mp4 was not written: NaN" in result.err and "2 clips, 1 failed" in result.err


def test_long_videos_are_rendered_one_by_one(run: Run, tiny: Path) -> None:
    result = run(
        "render", BALL, "--model", str(tiny), "--frames", "13", "--window", "9", "--size", "32x32", "--steps", "2",
        "--count", "2", "--continuity", "overlap", "-o", "long.mp4",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert [len(read_video(name)) for name in names(result.out)] == [13, 13]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param((BALL, "--seeds", "1,2,1"), "has 1 twice", id="a seed twice"),
        pytest.param((BALL, "--seeds", "1,x"), "'x', which is not a whole number", id="a text among the seeds"),
        pytest.param((BALL, "--seeds", ""), "'', which is not a whole number", id="no seeds"),
        pytest.param((BALL, "--seeds=-1"), "seed=-1 must be from 0", id="below 0"),
        pytest.param((BALL, "--count", "0"), "count=0 must be a whole number of at least 1", id="no clip"),
        pytest.param((BALL, "--count", "2", "--seeds", "1,2"), "give one of them", id="seeds and count"),
        pytest.param((BALL, "--seed", "1", "--seeds", "1,2"), "leave seed out", id="seed and seeds"),
        pytest.param((BALL, "--count", "2", "--batch-size", "0"), "batch_size=0 must be", id="no clip at once"),
        pytest.param((BALL, "--batch-size", "2"), "--batch-size is for several clips", id="a batch of one clip"),
        pytest.param((BALL, "--prompts", "p.txt"), "both given", id="a prompt and prompts"),
        pytest.param(("--prompts", "none.txt"), "cannot read 'none.txt'", id="no such file"),
        pytest.param(("--prompts", "empty.txt"), "empty.txt has no prompt", id="a file of comments"),
        pytest.param(("--prompts", "twice.txt", "--count", "1"), "is twice in twice.txt", id="a prompt twice"),
        pytest.param((BALL, "--count", "2", "-o", "{sede}.mp4"), "did you mean 'seed'", id="an unknown placeholder"),
        pytest.param((BALL, "--count", "2", "-o", "{0}.mp4"), "unknown placeholder of output '0'", id="a number"),
        pytest.param((BALL, "--count", "2", "-o", "{seed.mp4"), "a brace of the name itself", id="a single brace"),
        pytest.param((BALL, "--count", "2", "-o", "{prompt:d}.mp4"), "{seed:04d}", id="a format that does not fit"),
        pytest.param((BALL, "--count", "2", "-o", "{prompt}.mp4"), "for the clips 1 and 2", id="one name for two"),
        pytest.param((BALL, "--count", "2", "--preview", "p.png"), "--preview shows one clip", id="a preview"),
        pytest.param((BALL, "--count", "2", "--report", "r.html"), "--report describes one clip", id="a report"),
        pytest.param((BALL, "--skip-existing", "--overwrite"), "leave one of them out", id="skip and overwrite"),
        pytest.param((BALL, "--count", "2", "-o", "a.xyz"), "xyz", id="a format that cannot be written"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...], message: str, render: Run, tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_text(BALL)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "twice.txt").write_text(f"{BALL}\n{BALL}\n")
    result = render(*arguments)
    assert result.code == 2 and message in result.err, result.err
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize(
    ("output", "prompts", "seeds", "expected"),
    [
        pytest.param("a.mp4", (BALL,), (1, 2), ["a-seed1.mp4", "a-seed2.mp4"], id="seeds"),
        pytest.param("a.mp4", (BALL, SQUARE), (1,), ["a-1-seed1.mp4", "a-2-seed1.mp4"], id="prompts"),
        pytest.param("frames", (BALL,), (1, 2), ["frames-seed1", "frames-seed2"], id="folders"),
        pytest.param("{prompt}/{seed}.mp4", (BALL,), (1, 2), ["a-red-ball/1.mp4", "a-red-ball/2.mp4"], id="folders of"),
        pytest.param("{{a}}.mp4", (BALL,), (1,), ["{a}-seed1.mp4"], id="braces of the name"),
    ],
)
def test_names(output: str, prompts: tuple[str, ...], seeds: tuple[int, ...], expected: list[str]) -> None:
    requests = [RenderRequest(prompt, seed=seed) for prompt in prompts for seed in seeds]
    paths = name_clips(requests, OutputSettings(Path(output)), skip_existing=False)
    assert list(map(str, paths)) == expected


def test_default_names_of_prompts_with_one_beginning_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    requests = [RenderRequest("a" * 60 + end) for end in "bc"]
    output = OutputSettings(Path("out/x.mp4"), is_default=True)
    first, second = name_clips(requests, output, skip_existing=False)
    assert first.name.endswith("-0-1.mp4") and second.name.endswith("-0-2.mp4")


def test_one_bar_runs_over_all_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int, str]] = []
    bar = ClipsBar(False, speaks=False, count=6)
    monkeypatch.setattr(Bar, "__call__", lambda self, one: drawn.append((one.step, one.steps, self._segment(one))))
    bar.numbers = [1, 3, 4, 6]  # 2 and 5 exist
    for first, size in ((0, 2), (2, 2)):
        clips = range(first, first + size)
        for stage, step, steps in (("encode", 0, 1), ("denoise", 0, 3), ("denoise", 3, 3), ("decode", 1, 1)):
            bar(Progress(stage, step, steps, 0.0, clips=clips, clip_count=4))
    assert [position for position, _, _ in drawn] == [0, 0, 6, 6, 6, 6, 12, 12]
    assert {total for _, total, _ in drawn[1:]} == {12}
    assert [text for _, _, text in drawn[2:6:3]] == ["clips 1 to 3 of 6", "clips 4 to 6 of 6"]
