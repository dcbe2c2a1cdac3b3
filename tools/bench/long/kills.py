"""Resuming long renders that were killed again and again at random instants.

Renders of five segments are started, killed without warning (SIGKILL) and restarted until they finish. Each finished
file's frames must be those of an uninterrupted run, bit for bit, and the final name may never hold a partial file. The
model is loaded once; each render is a process of its own, so that the render is killed and not the loading of
libraries. Writes benchmarks/long-kills.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from tools.bench.files import BENCHMARKS, write_report
from videogen import Engine, RenderRequest, Video
from videogen.longvideo import job_folder
from videogen.longvideo.journal.job import SEGMENTS_FOLDER

SEGMENTS = 5
#: and the frames that make five segments
POLICIES = {
    "clean_prefix": 145,
    "replay": 110,
    "replay:release=0.8": 110,
    "cono_v": 205,
}


@dataclass
class Tally:
    """kills: renders killed; finished: renders that finished; resumed: segments found finished, summed over starts;
    faults: violations."""

    kills: int = 0
    finished: int = 0
    resumed: int = 0
    faults: list[str] = field(default_factory=list)


def request(policy: str) -> RenderRequest:
    return RenderRequest(
        "a red ball moves right on a black background", frames=POLICIES[policy], steps=2, continuity=policy, seed=4
    )


def kill_and_resume(engine: Engine, folder: Path, policy: str, kills: int, seed: int = 0) -> Tally:
    """Start, kill and resume renders until `kills` were killed and the last one has finished."""
    torch.set_num_threads(1)  # a forked render would wait for threads that it does not have
    requested, dice, tally = request(policy), random.Random(seed), Tally()
    start_s = time.perf_counter()
    uninterrupted = engine.render_long(requested, folder / "uninterrupted.mp4")
    render_s = time.perf_counter() - start_s
    expected = Video.open(uninterrupted.path).frames
    if len(uninterrupted.manifest["measured"]["long"]["segments"]) != SEGMENTS:
        raise RuntimeError(
            f"the render has {len(uninterrupted.manifest['measured']['long']['segments'])} segments, not {SEGMENTS}"
        )
    number = 0
    while tally.kills < kills or number > tally.finished:
        number = tally.finished + 1
        final = folder / f"clip-{number}.mp4"
        patience_s = dice.uniform(0, 0.8 * render_s) if tally.kills < kills else None
        killed = _start_and_kill(engine, requested, final, patience_s)
        tally.kills += killed
        tally.resumed += _finished_segments(final)
        if final.exists() or not killed:
            _compare(final, expected, tally)
            tally.finished += 1
    return tally


def _start_and_kill(engine: Engine, requested: RenderRequest, final: Path, patience_s: float | None) -> bool:
    """True if the render was killed before it ended."""
    child = multiprocessing.get_context("fork").Process(target=_render, args=(engine, requested, final))
    child.start()
    child.join(patience_s)
    killed = child.exitcode is None
    if killed:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    elif child.exitcode != 0 and not final.exists():
        raise RuntimeError(f"a render ended with {child.exitcode}")
    return killed


def _render(engine: Engine, requested: RenderRequest, final: Path) -> None:
    if not final.exists():  # killed after the file got its name, before the job's folder was removed
        engine.render_long(requested, final)


def _finished_segments(final: Path) -> int:
    """How many segments the journal has."""
    return len(list((job_folder(final) / SEGMENTS_FOLDER).glob("*.json")))


def _compare(final: Path, expected: np.ndarray, tally: Tally) -> None:
    try:
        frames = Video.open(final).frames
    except Exception as error:
        tally.faults.append(f"{final.name}: {error}")
        return
    if not np.array_equal(frames, expected):
        tally.faults.append(f"{final.name}: its frames differ from an uninterrupted run's")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=100, help="renders to kill, over all policies")
    parser.add_argument("--model", default="embedded", help="name or folder")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    tally, engine = Tally(), Engine.load(options.model)
    for number, policy in enumerate(POLICIES):
        with tempfile.TemporaryDirectory() as folder:
            kills = options.kills * (number + 1) // len(POLICIES) - options.kills * number // len(POLICIES)
            found = kill_and_resume(engine, Path(folder), policy, kills, number)
        for name, value in vars(found).items():
            setattr(tally, name, getattr(tally, name) + value)
    figures = {"segments": SEGMENTS, "policies": list(POLICIES), **vars(tally)}
    write_report(options.out / "long-kills.json", f"kills --kills {options.kills}", figures)
    return 1 if tally.faults else 0
