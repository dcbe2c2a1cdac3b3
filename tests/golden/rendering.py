"""Rendering of golden cases through the public entry points, on one thread: the only calls into the engine.

`python -m tests.golden.rendering CASE FOLDER SEGMENTS` is the child process of a resumed case: it kills
itself once that many segments are stored.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch

from tests.golden.aliases import OPTION_ALIASES
from tests.golden.cases import CASES, DRIVING, FIRST_FRAME, Case
from videogen import Engine, RenderRequest, Video
from videogen.cli import entry

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = "out"  # no suffix: a folder of PNG files, which are lossless
JOB = "out.job"
REDO = Engine.redo


@dataclass(frozen=True)
class Rendered:
    """frames: uint8 [frame, height, width, 3], several clips concatenated. job: the stored job's folder, if any."""

    frames: np.ndarray
    manifests: list[dict[str, Any]]
    job: Path | None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run the block on one thread; restore the number of threads afterwards."""
    threads, readers = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(readers)


@lru_cache(maxsize=2)
def load_engine(model: str) -> Engine:
    return Engine.load(model, device="cpu", dtype="float32")


def render(case: Case, folder: Path) -> Rendered:
    """Render a case in an empty folder."""
    _draw_inputs(folder)
    with one_thread(), patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / "cache")}):
        if case.arguments:
            return _run_command(case, folder)
        return _clip(case, folder) if case.kind == "clip" else _long(case, folder)


def _clip(case: Case, folder: Path) -> Rendered:
    result = load_engine(case.model).generate(**_options(case, folder))
    videos = result if isinstance(result, list) else [result]
    frames = np.concatenate([video.frames for video in videos])
    return Rendered(frames, [dict(video.manifest or {}) for video in videos], None)


def _long(case: Case, folder: Path) -> Rendered:
    output = folder / OUTPUT
    if case.kind == "resumed":
        _render_killed(case, folder)
    _render_into_file(case, folder)
    if case.redo is not None:
        REDO(load_engine(case.model), output, case.redo)
    return _read_result(folder)


def _render_into_file(case: Case, folder: Path, progress: Callable[[Any], bool] | None = None) -> None:
    result = load_engine(case.model).render_long(
        RenderRequest(**_options(case, folder)), folder / OUTPUT, keep_job=True, progress=progress
    )
    if case.kind == "resumed" and result.resumed != case.kill_after:
        raise AssertionError(f"{case.name}: {result.resumed} segments were stored, not {case.kill_after}")


def _run_command(case: Case, folder: Path) -> Rendered:
    arguments = [_as_path(OPTION_ALIASES.get(argument, argument), folder) for argument in case.arguments]
    command = ["videogen", "render", *arguments, "--model", case.model, "--quiet", "-o", str(folder / OUTPUT)]
    printed = io.StringIO()
    with patch.object(sys, "argv", command), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        exit_code = entry()
    if exit_code:
        raise AssertionError(f"{case.name}: exit code {exit_code}: {printed.getvalue()}")
    return _read_result(folder)


def _read_result(folder: Path) -> Rendered:
    video = Video.open(folder / OUTPUT)
    job = folder / JOB
    return Rendered(video.frames, [dict(video.manifest or {})], job if job.is_dir() else None)


def _render_killed(case: Case, folder: Path) -> None:
    """Start the case in a child process that kills itself."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    child = subprocess.run(
        [sys.executable, "-m", "tests.golden.rendering", case.name, str(folder), str(case.kill_after)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if child.returncode != -signal.SIGKILL:
        raise AssertionError(f"{case.name}: the child ended with {child.returncode}: {child.stderr[-2000:]}")


def _kill_after(segments: int, steps: int) -> Callable[[Any], bool]:
    def on_step(progress: Any) -> bool:
        if progress.stage == "denoise" and progress.step > segments * steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    return on_step


def _options(case: Case, folder: Path) -> dict[str, Any]:
    """The options of a case, with the path of a file for each placeholder."""
    options = _with_paths({OPTION_ALIASES.get(name, name): value for name, value in case.options.items()}, folder)
    assert isinstance(options, dict)
    return options


def _with_paths(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {name: _with_paths(inner, folder) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_paths(inner, folder) for inner in value]
    return _as_path(value, folder) if isinstance(value, str) else value


def _as_path(argument: str, folder: Path) -> str:
    return str(folder / argument) if argument in (FIRST_FRAME, DRIVING) else argument


def _draw_inputs(folder: Path) -> None:
    """Write the files that cases use: a first frame with a red disc, and a clip in which a textured square moves."""
    cv2.imwrite(str(folder / FIRST_FRAME), _disc(48))
    driving = folder / DRIVING
    driving.mkdir()
    texture = np.random.default_rng(5).integers(40, 255, (20, 20, 3), dtype=np.uint8)
    for frame in range(17):
        image = np.full((48, 48, 3), 30, np.uint8)
        image[14:34, 4 + frame : 24 + frame] = texture
        cv2.imwrite(str(driving / f"frame_{frame:05d}.png"), image)


def _disc(side: int) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    inside = (rows - side // 2) ** 2 + (columns - side // 4) ** 2 <= (side // 6) ** 2
    return np.where(inside[..., None], (20, 20, 220), (8, 8, 8)).astype(np.uint8)


def main() -> None:
    name, folder, segments = sys.argv[1:]
    case = next(case for case in CASES if case.name == name)
    with one_thread():
        _render_into_file(case, Path(folder), _kill_after(int(segments), int(case.options["steps"])))


if __name__ == "__main__":
    main()
