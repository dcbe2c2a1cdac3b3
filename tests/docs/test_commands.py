"""Every command line of the documentation and of the help runs, ends with 0 and writes the files that it names.

Models of the hub are replaced by a tiny one, the embedded ones render few frames in few steps, and input files that no
earlier command wrote are generated; slow: with the embedded models' own lengths and steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.docs.commands import Session, arguments_of, collect_sessions, without_comment
from tests.docs.small import shorten, write_inputs
from videogen import Video
from videogen.backbones import registry
from videogen.cli.main import main
from videogen.cli.parser import build_parser
from videogen.cli.progress import Bar
from videogen.cli.several_options import is_several
from videogen.longvideo.journal.job import job_folder
from videogen.sampling.progress import Progress

SESSIONS = collect_sessions()
#: Lines that are not run here, and why.
NOT_RUN = {
    "make demo": "installs; its command is run as a session of its own",
    "make test": "runs this test",
    "python examples/text_to_video.py": "run by test_examples.py",
    "pip install -c constraints.txt .": "installs",
    "pip install xformers triton": "installs",
    "pip install 'videogen[lora]'": "installs",
    "pip install flash-attn --no-build-isolation": "installs",
    "make gpu MINUTES=30 OUT=out/gpu WHEELS=wheels PYTHON=python3": "trains for 30 minutes on a GPU",
    "python -m tools.gpu --wheel-names | xargs python -m pip download -c constraints.txt --no-deps "
    "--only-binary=:all: -d wheels": "downloads",
}
Outcome = tuple[str, str]


class Reader:
    """Runs the lines of a session as a reader does."""

    def __init__(
        self, session: Session, hub_model: Path, hosted: dict[str, Path], patch: pytest.MonkeyPatch, output: Any
    ) -> None:
        self.session, self.hub_model, self.hosted = session, hub_model, hosted
        self.patch, self.output = patch, output
        self.parser = build_parser("0", "")
        self.written: dict[Path, list[str]] = {}  # arguments of the command that wrote a file

    def run(self, line: str) -> None:
        """Run a line and check what it wrote. AssertionError with the line and what it printed."""
        arguments = arguments_of(line)
        if arguments is None:
            assert line in NOT_RUN, f"{line}: not a command of videogen; run it, or say in NOT_RUN why not"
            return
        arguments = shorten(arguments, self.hub_model, self.hosted)
        if "--help" in arguments:
            self.call(arguments)
            return
        options = self.parser.parse_args(arguments)
        write_inputs(options, self.session.files, self.hosted)
        if options.command == "render" and options.resume is not None:
            self.interrupt(options.resume)
        if options.command == "quantize":
            self.quantize(options, arguments)
            return
        out, _ = self.call(arguments)
        if options.command == "render":
            self.check_render(options, arguments, out)
        elif options.command == "story" and options.action in ("redo", "restore"):
            check_video(options.video)
        else:
            assert out.strip(), line

    def quantize(self, options: argparse.Namespace, arguments: list[str]) -> None:
        """With a model of its own, since it is changed."""
        with self.patch.context() as patch:
            patch.setattr("videogen.engine.memory_use.load", registry.load)
            self.call(arguments)
        assert (options.output / "quantization.json").is_file()

    def call(self, arguments: list[str], code: int = 0) -> Outcome:
        self.output.readouterr()
        ended = main(arguments)
        found = self.output.readouterr()
        assert ended == code, f"{' '.join(arguments)} ended with {ended}: {found.err}"
        return found.out, found.err

    def check_render(self, options: argparse.Namespace, arguments: list[str], out: str) -> None:
        if is_several(options):
            paths = [clip["path"] for clip in json.loads(out)] if options.json else out.splitlines()
            assert len(paths) > 1 and all(len(check_video(Path(path))) for path in paths)
            return
        path = Path(json.loads(out)["path"] if options.json else out.strip())
        named = options.output or options.resume
        assert named is None or path.resolve() == named.resolve()
        self.written[path.resolve()] = arguments
        video = check_video(path)
        if options.motion_preview is not None:
            check_video(options.motion_preview)
        if options.frames is not None:
            assert len(video) == options.frames
        if options.seconds is not None:
            assert len(video) == pytest.approx(options.seconds * float(video.fps), abs=1)
        if options.like is not None:
            assert np.array_equal(video.frames, Video.open(options.like).frames)
        if options.keep_job:
            assert job_folder(path).is_dir()

    def interrupt(self, path: Path) -> None:
        """Leave a video as its render does at Ctrl-C in its second segment: only its job is there."""

        def stop(bar: Bar, progress: Progress) -> None:
            if bar.steps_per_segment and progress.stage == "denoise" and progress.step > bar.steps_per_segment:
                raise KeyboardInterrupt

        path.unlink()
        with self.patch.context() as patch:
            patch.setattr(Bar, "__call__", stop)
            self.call(self.written[path.resolve()], code=130)
        assert job_folder(path).is_dir() and not path.exists()


def check_video(path: Path) -> Video:
    """A file's video. AssertionError where it shows nothing."""
    video = Video.open(path)
    assert video.frames.std() > 2, f"{path} shows one colour"
    return video


def run_session(session: Session, reader: Reader) -> None:
    for line in session.lines:
        reader.run(line)


@pytest.fixture
def make_reader(
    tiny_hub_model: Path,
    hosted_models: dict[str, Path],
    shared_models: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[[Session], Reader]:
    return lambda session: Reader(session, tiny_hub_model, hosted_models, monkeypatch, capfd)


CASES = [pytest.param(session, id=session.name) for session in SESSIONS]
#: sessions of several renders of half a minute in all: their parts are tested elsewhere, and here with the slow tests
_LONG = ("docs/guide/long_video.md 1", "docs/guide/quantization.md 2", "docs/guide/memory.md 1")
SHORT = [
    pytest.param(session, id=session.name, marks=pytest.mark.slow if session.name in _LONG else ())
    for session in SESSIONS
]


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("session", SHORT)
def test_commands_run(session: Session, make_reader: Callable[[Session], Reader]) -> None:
    run_session(session, make_reader(session))


@pytest.mark.slow
@pytest.mark.parametrize("session", CASES)
def test_commands_run_at_the_models_own_length(session: Session, make_reader: Callable[[Session], Reader]) -> None:
    run_session(session, make_reader(session))


def test_offloading_alone_needs_a_gpu(tiny_hub_model: Path, make_reader: Callable[[Session], Reader]) -> None:
    """`shorten` leaves `--offload` out for no other reason, and an example has it."""
    lines = [line for session in SESSIONS for line in session.lines if "--offload" in line]
    assert lines
    if torch.cuda.is_available():
        return
    for line in lines:
        arguments = [*shorten(arguments_of(line) or [], tiny_hub_model), "--offload", "model"]
        assert "needs an accelerator" in make_reader(SESSIONS[0]).call(arguments, code=2)[1]


def test_lines_that_are_not_run_are_in_the_documentation() -> None:
    assert set(NOT_RUN) <= {line for session in SESSIONS for line in session.lines}


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ('videogen render "a  # b" -o x.mp4   # a comment', 'videogen render "a  # b" -o x.mp4'),
        ("videogen doctor     what works", "videogen doctor"),
        ("pip install '.[cuda]' x", "pip install '.[cuda]' x"),
        ("# only a comment", ""),
    ],
)
def test_comments_are_cut_off(line: str, command: str) -> None:
    assert without_comment(line) == command
