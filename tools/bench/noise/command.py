"""Warped noise: statistics and speed.

statistics: whether it is white under every kind of motion, the same of resampled noise (which must fail), slow pans,
motions there and back, and which properties are exact. speed: seconds of 49 frames of 720x480, and of
Go-with-the-Flow's method at its published setting in the same run. Writes benchmarks/motion-noise.json, in which a part
that is not measured again keeps its figures. How well models follow it: `motion`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from tools.bench.environment import machine
from tools.bench.files import BENCHMARKS, read_report, write_report
from tools.bench.noise.speed import measure_speed
from tools.bench.noise.statistics import measure_statistics

PARTS = {"statistics": measure_statistics, "speed": measure_speed}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", default=[*PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=256, help="statistics: width and height in px")
    parser.add_argument("--repeats", type=int, default=3, help="speed: rounds of each measurement; the medians count")
    parser.add_argument(
        "--size-px", type=int, nargs=2, default=(480, 720), metavar=("HEIGHT", "WIDTH"), help="speed: of the frames"
    )
    parser.add_argument("--frames", type=int, default=49, help="speed")
    parser.add_argument("--channels", type=int, default=16, help="speed")
    parser.add_argument(
        "--published-steps", type=int, default=2, help="speed: steps of the published method that are timed"
    )


def run(options: argparse.Namespace) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    for part in options.parts:
        figures = {"machine": machine(options.device), **PARTS[part](options)}
        update_report(options.out / "motion-noise.json", part, figures, options.device)
    return 0


def update_report(path: Path, part: str, figures: dict[str, Any], device: str) -> None:
    """Replace one part's figures in the report and leave the other parts'."""
    stored = read_report(path)
    parts = {name: stored[name] for name in PARTS if name in stored} | {part: figures}
    ordered = {name: parts[name] for name in PARTS if name in parts}
    write_report(path, f"noise {' '.join(ordered)}", ordered, device=device)
