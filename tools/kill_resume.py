"""Kill a long render again and again at random instants: `python tools/kill_resume.py [--kills 100]`.

Renders of five segments are begun, killed without warning (SIGKILL) and begun again until they finish; each finished
file's frames must be an uninterrupted run's, bit for bit, and at no instant may the final name hold a part of a file.
The model is loaded once; each render is a process of its own, so that what is killed is the render and not the loading
of libraries.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from videogen import Engine, RenderRequest, Video
from videogen.longvideo import job_folder

SEGMENTS = 5
POLICIES = {
    "clean_prefix": 145,
    "replay": 110,
    "replay:release=0.8": 110,
    "cono": 205,
}  # and the frames that make five segments


@dataclass
class Tally:
    """kills: renders killed; finished: renders that came to their end; resumed: segments found done, summed over starts;
    faults: what should not be."""

    kills: int = 0
    finished: int = 0
    resumed: int = 0
    faults: list[str] = field(default_factory=list)


def request(policy: str) -> RenderRequest:
    return RenderRequest(
        "a red ball moves right on a black background", frames=POLICIES[policy], steps=2, continuity=policy, seed=4
    )


def kill_and_resume(engine: Engine, folder: Path, policy: str, kills: int, seed: int = 0) -> Tally:
    """Until so many renders were killed and the one begun last has finished."""
    torch.set_num_threads(1)  # or a forked render would wait for threads that it has not
    asked, dice, tally = request(policy), random.Random(seed), Tally()
    begun = time.perf_counter()
    whole = engine.render_long(asked, folder / "whole.mp4")
    usual_s = time.perf_counter() - begun
    expected = Video.open(whole.path).frames
    if len(whole.manifest["measured"]["long"]["segments"]) != SEGMENTS:
        raise RuntimeError(
            f"the render has {len(whole.manifest['measured']['long']['segments'])} segments, not {SEGMENTS}"
        )
    number = 0
    while tally.kills < kills or number > tally.finished:
        number = tally.finished + 1
        final = folder / f"clip-{number}.mp4"
        patience_s = dice.uniform(0, 0.8 * usual_s) if tally.kills < kills else None
        killed = _start_and_kill(engine, asked, final, patience_s)
        tally.kills += killed
        tally.resumed += _done(final)
        if final.exists() or not killed:
            _compare(final, expected, tally)
            tally.finished += 1
    return tally


def _start_and_kill(engine: Engine, asked: RenderRequest, final: Path, patience_s: float | None) -> bool:
    """Whether it was killed before it ended."""
    child = multiprocessing.get_context("fork").Process(target=_render, args=(engine, asked, final))
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


def _render(engine: Engine, asked: RenderRequest, final: Path) -> None:
    if not final.exists():  # killed after the file had its name, before the job's folder went
        engine.render_long(asked, final)


def _done(final: Path) -> int:
    """Segments that the journal has."""
    return len(list((job_folder(final) / "chunks").glob("*.json")))


def _compare(final: Path, expected: np.ndarray, tally: Tally) -> None:
    try:
        frames = Video.open(final).frames
    except Exception as error:
        tally.faults.append(f"{final.name}: {error}")
        return
    if not np.array_equal(frames, expected):
        tally.faults.append(f"{final.name}: its frames differ from an uninterrupted run's")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    options = parser.parse_args(argv)
    tally, engine = Tally(), Engine.load(options.model)
    for number, policy in enumerate(POLICIES):
        with tempfile.TemporaryDirectory() as folder:
            kills = options.kills * (number + 1) // len(POLICIES) - options.kills * number // len(POLICIES)
            found = kill_and_resume(engine, Path(folder), policy, kills, number)
        for name, value in vars(found).items():
            setattr(tally, name, getattr(tally, name) + value)
    result = {
        "command": f"python tools/kill_resume.py --kills {options.kills}",
        "segments": SEGMENTS,
        "policies": list(POLICIES),
        **vars(tally),
    }
    path = options.out / "long-kills.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
