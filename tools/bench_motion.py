"""Measure noise that moves: `python tools/bench_motion.py [statistics] [speed] --out benchmarks`, into
motion-noise.json.

statistics: is it white under every kind of motion, what resampled noise shows instead, slow pans, there and back, what
is exact. speed: seconds of 49 frames of 720x480, and of Go-with-the-Flow's method at its published setting in the same
run. Parts are kept from run to run; README's table takes the file's `rows`. How well models follow:
tools/bench_motion_control.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools import bench_motion_speed, bench_motion_statistics
from tools.bench import machine


@dataclass(frozen=True)
class Part:
    """A part of the bench: what measures it and makes rows of it, and the file it goes to."""

    measure: Callable[[argparse.Namespace], dict[str, Any]]
    rows: Callable[[dict[str, Any]], Iterator[tuple[str, str]]]
    file: str = "motion-noise.json"


PARTS = {
    "statistics": Part(bench_motion_statistics.statistics, bench_motion_statistics.rows),
    "speed": Part(bench_motion_speed.speed, bench_motion_speed.rows),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=256, help="statistics: width and height in px")
    parser.add_argument("--repeats", type=int, default=3, help="speed: turns of each measurement; medians are told")
    parser.add_argument(
        "--picture", type=int, nargs=2, default=(480, 720), metavar=("HEIGHT", "WIDTH"), help="speed: px"
    )
    parser.add_argument("--frames", type=int, default=49, help="speed")
    parser.add_argument("--channels", type=int, default=16, help="speed")
    parser.add_argument(
        "--published-steps", type=int, default=2, help="speed: steps of the published method that are timed"
    )
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.parts:
        note(options.out / PARTS[name].file, name, {"machine": machine(options.device), **PARTS[name].measure(options)})
    return 0


def note(path: Path, name: str, found: dict[str, Any]) -> None:
    """Put one part's figures into the file, beside the other parts' of earlier runs, and make its rows anew."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    figures = {part: kept[part] for part in PARTS if part in kept} | {name: found}
    parts = [part for part in PARTS if part in figures]
    rows = [row for part in parts for row in PARTS[part].rows(figures[part])]
    content = {
        "command": f"python tools/bench_motion.py {' '.join(parts)}",
        "rows": rows,
        **{part: figures[part] for part in parts},
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    sys.exit(main())
