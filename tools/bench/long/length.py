"""Memory and time of a long video over its length."""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tools.bench.environment import bench_in_fresh_process, peak_memory_bytes
from tools.bench.files import show_progress
from videogen import Engine, RenderRequest


def measure_length(options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory and CPU seconds per segment of a short and a long video, each in processes of its own."""
    runs: dict[int, list[dict[str, Any]]] = {}
    for frames in (options.short, options.long):
        runs[frames] = [_in_fresh_process(frames, options) for _ in range(options.repeats)]
        show_progress({frames: runs[frames]})
    found = {str(frames): _summarize(frames, of_length) for frames, of_length in runs.items()}
    short, long = found[str(options.short)], found[str(options.long)]
    growth = [run["growth"] for run in runs[options.long]]
    return {
        "steps": options.steps,
        "repeats": options.repeats,
        "runs": found,
        "memory_ratio": round(long["peak_bytes"] / short["peak_bytes"], 3),
        "growth": {"median": round(median(growth), 3), "worst": round(max(growth), 3)},
    }


def _summarize(frames: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    slopes = [run["slope"] for run in runs if run["slope"] is not None]
    return {
        "frames": frames,
        "peak_bytes": min(run["peak_bytes"] for run in runs),
        "cpu_seconds_per_segment": round(median(run["cpu_seconds_per_segment"] for run in runs), 3),
        "slope": round(median(slopes), 4) if slopes else None,
    }


def _in_fresh_process(frames: int, options: argparse.Namespace) -> dict[str, Any]:
    arguments = ["long", "length", options.model, "--one", str(frames), "--steps", str(options.steps)]
    arguments += ["--short", str(options.short)]
    return bench_in_fresh_process(arguments + (["--threads", str(options.threads)] if options.threads else []))


def render_one_length(options: argparse.Namespace) -> dict[str, Any]:
    """In this process: one long video to a file in a temporary folder."""
    engine = Engine.load(options.model)
    marks: list[tuple[float, int]] = []  # CPU seconds at which so many segments were denoised
    peaks: list[int] = []

    def on_step(progress: Any) -> None:
        if progress.stage == "denoise" and progress.step % options.steps == 0:
            marks.append((time.process_time(), progress.step // options.steps))
            peaks.append(peak_memory_bytes())

    with tempfile.TemporaryDirectory() as folder:
        prompt = "a red ball moves in a circle on a black background"
        request = RenderRequest(prompt, frames=options.one, steps=options.steps)
        done = engine.render_long(request, Path(folder) / "clip.mp4", progress=on_step)
        seconds = [after - before for (before, a), (after, b) in pairwise(marks) if b == a + 1]
        early = peaks[min(len(peaks) - 1, len(peaks) * options.short // options.one)]
        peak = peak_memory_bytes()
        return {
            "frames": done.frames,
            "peak_bytes": peak,
            "growth": round(peak / early, 4),
            "cpu_seconds_per_segment": round(median(seconds), 3),
            "slope": slope(seconds),
        }


def slope(seconds: list[float]) -> float | None:
    """How much longer a segment takes at the end than at the start, as a fraction: medians of the last and first
    third."""
    third = len(seconds) // 3
    return round(median(seconds[-third:]) / median(seconds[:third]) - 1, 4) if third >= 2 else None
