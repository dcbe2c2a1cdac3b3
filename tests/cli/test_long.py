"""Long videos from the command line: rendered, interrupted and resumed, repeated, listed, regenerated in part."""

from __future__ import annotations

import ast
import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Outcome, Run
from videogen import Video
from videogen.cli import long_options, long_video, parser, story
from videogen.cli.progress import Bar
from videogen.cli.story import CHOICES, SETTINGS
from videogen.media.metadata import read_manifest
from videogen.request import continuity
from videogen.request.continuity import AUTO, MEASURED, OFF, Continuity
from videogen.request.continuity_noise import NOISES
from videogen.request.continuity_policies import ROWS
from videogen.sampling.progress import Progress

BALL = "a red ball moves right on a black background"
LONG = ("--model", "embedded", "--frames", "70", "--steps", "2", "--continuity", "replay", "--seed", "5")
STORY = """[00:00-00:01.5] a red ball moves right on a black background
[00:01.5-00:03, cut, seed=7] a blue zebra moves left on a black background
"""


def frames(path: str | Path) -> np.ndarray:
    return Video.open(path).frames


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, error: type[BaseException] = KeyboardInterrupt) -> None:
    """The next render is stopped after so many denoising steps, counted over all segments."""

    def stopping(self: Bar, progress: Progress) -> None:
        if progress.stage == "denoise" and progress.step >= step:
            raise error

    monkeypatch.setattr(Bar, "__call__", stopping)


def interrupted(run: Run, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Outcome:
    with monkeypatch.context() as patched:
        stop_at(patched, 5)
        return run("render", *arguments)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video of `LONG`, with its job."""
    from videogen.cli.main import main

    path = tmp_path_factory.mktemp("uninterrupted") / "long.mp4"
    assert (
        main(
            [
                "render",
                BALL,
                *LONG,
                "-o",
                str(path),
                "--quiet",
                "--keep-job",
                "--report",
                str(path.with_suffix(".html")),
            ]
        )
        == 0
    )
    return path


def test_a_long_video_is_trimmed_reported_and_listed(run: Run, uninterrupted: Path) -> None:
    assert frames(uninterrupted).shape == (70, 64, 64, 3)
    found = (read_manifest(uninterrupted) or {})["measured"]["long"]
    assert found["continuity"]["policy"] == "replay" and [segment["first_frame"] for segment in found["segments"]] == [
        0,
        33,
        53,
    ]
    page = uninterrupted.with_suffix(".html").read_text()
    assert all(
        text in page for text in ("Long video</h2>", "Segments</h2>", "Joins</h2>", "1.25", "Dense: nothing", "<circle")
    )
    assert page.count("<circle") == 2 and "http" not in page
    printed = run("inspect", uninterrupted).out
    assert "long continuity" in printed and "long faults" in printed
    output = run("story", "show", uninterrupted)
    assert output.code == 0 and BALL in output.out and "53-69" in output.out and "story redo" in output.out


def test_an_interrupted_render_says_what_is_stored_and_resumes(
    run: Run, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = interrupted(run, monkeypatch, BALL, *LONG, "-o", "my clip.mp4")
    assert stopped.code == 130 and stopped.out == ""
    assert "interrupted; 2 of 3 segments are stored in my clip.mp4.job: the same command" in stopped.err
    assert "videogen render --resume 'my clip.mp4') resumes" in stopped.err and not Path("my clip.mp4").exists()
    output = run("story", "show", "my clip.mp4").out
    assert "53-69" in output and output.count("done") == 3 and "2 of 3 segments are done" in output
    other = run("render", BALL, *LONG[:-1], "6", "-o", "my clip.mp4")
    assert other.code == 2 and "is the job of another request: request.seed was 5 and is 6" in other.err
    again = run("render", BALL, *LONG, "-o", "my clip.mp4")
    assert again.code == 0 and "note: resumed: 2 of 3 segments were done" in again.err
    assert np.array_equal(frames("my clip.mp4"), frames(uninterrupted)) and not Path("my clip.mp4.job").exists()


def test_resume_needs_the_output_alone(run: Run, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert interrupted(run, monkeypatch, BALL, *LONG, "-o", "clip.mp4").code == 130
    for extra, named in ((("--seed", "0"), "--seed"), ((BALL,), "the prompt"), (("-o", "b.mp4"), "--output")):
        refused = run("render", "--resume", "clip.mp4", *extra)
        assert refused.code == 2 and f"leave {named} out" in refused.err
    done = json.loads(run("render", "--resume", "clip.mp4.job", "--json", "--keep-job").out)
    assert (
        done["frames"] == 70
        and done["notes"] == ["resumed: 2 of 3 segments were done"]
        and done["manifest"]["measured"]["long"]
    )
    assert np.array_equal(frames("clip.mp4"), frames(uninterrupted)) and Path("clip.mp4.job").is_dir()


def test_like_repeats_a_long_video(run: Run, uninterrupted: Path) -> None:
    assert run("render", "--like", uninterrupted, "-o", "again.mp4").code == 0
    assert np.array_equal(frames("again.mp4"), frames(uninterrupted))


def test_a_length_replaces_the_other_videos(run: Run, tiny: Path) -> None:
    assert (
        run(
            "render", "a red ball", "--model", tiny, "--frames", "5", "--size", "32x32", "--steps", "1", "-o", "a.mp4"
        ).code
        == 0
    )
    longer = run("render", "--like", "a.mp4", "--seconds", "1", "--window", "9", "-o", "b.mp4", "--json")
    request = json.loads(longer.out)["manifest"]["request"]
    assert (request["frames"], request["window"], request["continuity"]["policy"]) == (16, 9, "replay")


def test_a_story_of_a_config_has_its_shots_its_name_and_its_notes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "two.txt").write_text(STORY)
    (tmp_path / "films" / "c.toml").write_text('story = "two.txt"\nsteps = 2\n')
    made = run("render", "--config", "films/c.toml", "--report", "r.html")
    assert made.code == 0 and made.out == f"{tmp_path}/out/two-0.mp4\n"
    assert "note: 'a blue zebra moves left on a black backg': the model does not know 'zebra'" in made.err
    manifest = read_manifest(tmp_path / "out" / "two-0.mp4") or {}
    assert [shot["transition"] for shot in manifest["request"]["story"]["shots"]] == ["hold", "cut"]
    assert "Shots</h2>" in (tmp_path / "r.html").read_text()
    for what in ("films/two.txt", "out/two-0.mp4"):
        output = run("story", "show", what)
        assert output.code == 0 and "1.5-3" in output.out and "zebra" in output.out and "cut" in output.out
    assert "2 shots" in run("inspect", "out/two-0.mp4").out
    prompted = run("render", BALL, "--like", "out/two-0.mp4", "-o", "b.mp4", "--json")
    assert json.loads(prompted.out)["manifest"]["request"]["story"] is None


def test_one_segment_is_regenerated(run: Run, uninterrupted: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copy(uninterrupted, tmp_path / "clip.mp4")
    shutil.copytree(f"{uninterrupted}.job", tmp_path / "clip.mp4.job")
    redone = run("story", "redo", "1", "clip.mp4")
    assert redone.code == 0 and redone.out == f"{tmp_path / 'clip.mp4'}\n"
    assert "segment 1 regenerated, attempt 1, from frame 33; seam ratio " in redone.err
    assert re.search(r"1 +33-52 +2\.06-3\.31 +redo 1 +0, 1 +\d\.\d\d\n", run("story", "show", "clip.mp4").out)
    change = np.abs(frames(uninterrupted).astype(float) - frames("clip.mp4")).mean((1, 2, 3))
    others = np.concatenate([change[:33], change[53:]])  # there, the file's compression alone
    assert others.max() < 2 < change[36:53].min()
    assert "`story redo` regenerated these segments" in run("render", "--like", "clip.mp4", "-o", "b.mp4").err
    for arguments, message in (
        (("9", "clip.mp4"), "(0 to 2)"),
        (("1", "clip.mp4", "--attempt", "0"), "attempt=0 must be 1 or more"),
    ):
        refused = run("story", "redo", *arguments)
        assert refused.code == 2 and message in refused.err
    restored = run("story", "restore", "1", "clip.mp4")
    assert restored.code == 0 and "segment 1 restored, attempt 0, from frame 33; seam ratio " in restored.err
    assert np.array_equal(frames("clip.mp4"), frames(uninterrupted))
    assert re.search(r"1 +33-52 +2\.06-3\.31 +0 +0, 1 +\d\.\d\d\n", run("story", "show", "clip.mp4").out)


def test_policies_are_named_by_their_table_alone() -> None:
    """No text of the command line or of the configuration names a policy, so that a new row is in all of them."""
    rows = set(ROWS) - set(NOISES) - set(SETTINGS)
    for module in (long_options, long_video, parser, story, continuity):
        tree = ast.parse(inspect.getsource(module))
        definitions = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
        documentation = {ast.get_docstring(node, clean=False) for node in definitions}
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        found = {word for text in texts if isinstance(text, str) and text not in documentation
                 for word in re.findall(r"\w+", text)}  # fmt: skip
        assert found & rows <= {Continuity.policy}, module.__name__


def test_all_policies_and_settings_are_listed(run: Run) -> None:
    assert set(CHOICES) == {AUTO, OFF, MEASURED} and {"policy", *SETTINGS} == {
        field.name for field in fields(Continuity)
    }
    listed = run("story", "policies")
    assert listed.code == 0 and all(f"\n{name} " in f"\n{listed.out}" for name in (*CHOICES, *ROWS))
    assert max(map(len, listed.out.splitlines())) <= 140
    for arguments in ((), ("show",), ("redo",), ("restore",), ("policies",)):
        assert run("story", *arguments, "--help").code == 0
    assert "did you mean 'show'" in run("story", "shwo").err
