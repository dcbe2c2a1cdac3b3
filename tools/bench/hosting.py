"""Cost of hosting: a pipeline's own call against the same clip with each step requested by the engine.

The embedded models run as diffusers' pipelines, hosted, and by their hand-written families, alternating; the least CPU
time of each counts, which a busy machine changes least. Frames of all three are compared bit for bit. Writes
benchmarks/hosting.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.bench.environment import machine
from tools.bench.files import BENCHMARKS, write_report
from videogen import Engine
from videogen.backbones.hosting.backbone import HostedBackbone

MODELS = ("embedded", "embedded-unet")
TARGETS = {"overhead_of_a_step": 0.02}
PROMPT, NEGATIVE = "a red ball moves right on a gray background", "blurry"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=10, help="denoising steps of each clip")
    parser.add_argument("--repeats", type=int, default=7, help="clips per way of rendering; the fastest counts")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    rows = {name: measure(name, options.steps, options.repeats) for name in MODELS}
    for name, row in rows.items():
        print(name, row)
    report = {"machine": machine("cpu"), "steps": options.steps, "targets": TARGETS, "models": rows}
    write_report(options.out / "hosting.json", "hosting", report, device="cpu")
    return 0


def measure(name: str, steps: int, repeats: int) -> dict[str, Any]:
    """CPU seconds of a clip in each way, and what hosting adds to a step of the pipeline's own call."""
    own = Engine.load(name, device="cpu")
    hosted = Engine(HostedBackbone(own.backbone.pipeline, own.backbone.name, own.backbone.digest))
    defaults = own.backbone.defaults
    request: Any = {
        "negative_prompt": NEGATIVE, "frames": defaults.frames, "size": (defaults.width, defaults.height),
        "steps": steps, "guidance_scale": 4.0, "seed": 1, "noise": "diffusers",
    }  # fmt: skip
    limit = {"max_sequence_length": own.backbone.text_limit} if own.backbone.family == "wan" else {}
    prompt = own.backbone.normalise_prompt(PROMPT)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "pipeline": lambda: _run_pipeline(own, prompt, steps, limit),
        "hosted": lambda: hosted.generate(prompt, **request, options=limit or None).frames,
        "own_family": lambda: own.generate(prompt, **request).frames,
    }
    frames = {way: render() for way, render in ways.items()}  # also warms up
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, render in ways.items():
            started = time.process_time()
            render()
            seconds[way].append(time.process_time() - started)
    fastest = {way: min(times) for way, times in seconds.items()}
    return {
        **{f"{way}_s": round(value, 4) for way, value in fastest.items()},
        "overhead_of_a_step": round(fastest["hosted"] / fastest["pipeline"] - 1, 4),
        "equal": all(bool(np.array_equal(one, frames["pipeline"])) for one in frames.values()),
    }


@torch.inference_mode()
def _run_pipeline(engine: Engine, prompt: str, steps: int, limit: dict[str, int]) -> np.ndarray:
    defaults = engine.backbone.defaults
    result = engine.backbone.pipeline(
        prompt=prompt, negative_prompt=NEGATIVE, num_frames=defaults.frames, width=defaults.width,
        height=defaults.height, num_inference_steps=steps, guidance_scale=4.0, output_type="np",
        generator=torch.Generator().manual_seed(1), **limit,
    ).frames[0]  # fmt: skip
    return np.round(np.asarray(result) * 255).astype(np.uint8)
