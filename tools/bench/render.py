"""Render time of the embedded models against diffusers' own pipelines.

Seconds with and without loading, per stage, peak memory, and the ratio to diffusers' own pipeline on the same loaded
model. The two alternate within one run, so that a busy machine slows down both. Their frames are compared as well: a
ratio between different frames would mean nothing. Writes benchmarks/render.json.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench.environment import bench_in_fresh_process, peak_memory_bytes
from tools.bench.files import BENCHMARKS, show_progress, write_report

PROMPT = "a red ball moves right on a black background"
SEED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", default=["embedded", "embedded-unet"], help="names or folders")
    parser.add_argument("--rounds", type=int, default=3, help="renders by each pipeline, after one to warm up")
    parser.add_argument("--device", default=None, help="default: the best available")
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "render.json")
    parser.add_argument("--steps", type=int, default=None, help="default: the model's, as for all other settings")
    parser.add_argument("--first-render", metavar="MODEL", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    if options.first_render:
        print(json.dumps(first_render(options.first_render, options.device, options.steps)))
        return 0
    models: dict[str, Any] = {}
    for name in options.models:
        models[Path(name).name] = measure(name, options)
        show_progress({name: models[Path(name).name]})
    write_report(options.out, "render", {"prompt": PROMPT, "models": models}, device=options.device)
    return 0


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One model's entry: a first render in a fresh process, then renders alternating with diffusers' pipeline."""
    arguments = ["render", "--first-render", name]
    arguments += ["--device", options.device] if options.device else []
    arguments += ["--steps", str(options.steps)] if options.steps else []
    fresh = bench_in_fresh_process(arguments)
    from videogen import Engine

    engine = Engine.load(name, device=options.device)
    pipeline = engine.backbone.pipeline

    def ours() -> Any:
        return engine.generate(PROMPT, seed=SEED, noise="diffusers", steps=options.steps)

    video = ours()
    request = video.manifest["request"]
    theirs = library_call(pipeline, request)
    same = bool((theirs() == video.frames).all())
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    stages: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        render_s, video = timed(ours)
        seconds["ours"].append(render_s)
        seconds["theirs"].append(timed(theirs)[0])
        for stage, stage_s in video.manifest["timings_s"].items():
            stages.setdefault(stage, []).append(stage_s)
    median = {who: statistics.median(values) for who, values in seconds.items()}
    return {
        "clip": f"{request['frames']} frames of {request['width']}x{request['height']}, {request['steps']} steps",
        **fresh,
        "render_s": round(median["ours"], 3),
        "stages_s": {stage: round(statistics.median(values), 3) for stage, values in stages.items()},
        "diffusers_render_s": round(median["theirs"], 3),
        "ratio_to_diffusers": round(statistics.median(paired_ratios(seconds)), 3),
        "frames_equal_diffusers": same,
        "rounds": options.rounds,
    }


def paired_ratios(seconds: dict[str, list[float]]) -> list[float]:
    return [ours / theirs for ours, theirs in zip(seconds["ours"], seconds["theirs"], strict=True)]


def library_call(pipeline: Any, request: dict[str, Any]) -> Callable[[], Any]:
    """diffusers' own `__call__` with the same settings; returns uint8 frames, rounded as the engine does."""
    import numpy as np
    import torch

    settings = {
        "prompt": request["prompt"],
        "negative_prompt": request["negative_prompt"],
        "num_frames": request["frames"],
        "width": request["width"],
        "height": request["height"],
        "num_inference_steps": request["steps"],
        "guidance_scale": request["guidance_scale"],
        "output_type": "np",
    }
    if "max_sequence_length" in inspect.signature(pipeline.__call__).parameters:
        settings["max_sequence_length"] = min(512, pipeline.tokenizer.model_max_length)

    def call() -> Any:
        frames = pipeline(**settings, generator=torch.Generator().manual_seed(request["seed"])).frames
        return np.round(255 * np.asarray(frames[0])).astype(np.uint8)

    return call


def first_render(name: str, device: str | None, steps: int | None) -> dict[str, Any]:
    """Cost of the first use, in a process of its own: imports and loading, one render, peak memory."""
    start = time.perf_counter()
    from videogen import Engine

    engine = Engine.load(name, device=device)
    loaded = time.perf_counter()
    engine.generate(PROMPT, seed=SEED, steps=steps)
    done = time.perf_counter()
    figures = {
        "load_s": round(loaded - start, 3),
        "load_and_render_s": round(done - start, 3),
        "peak_memory_mib": round(peak_memory_bytes() / 2**20),
    }
    import torch

    if torch.cuda.is_available():
        figures["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return figures


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result. The frames are on the CPU when the clock stops, so the device has finished."""
    gc.collect()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
