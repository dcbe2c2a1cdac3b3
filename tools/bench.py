"""Measure renders of the embedded models: `python tools/bench.py --out benchmarks/render.json`.

Seconds with and without loading, by stage, peak memory, and the ratio to diffusers' own pipeline on the same loaded
model, taken in turns within one run so that a busy machine slows both. Frames of the two are compared as well: a
ratio between different pictures would mean nothing. README's table is made from this file by tools/readme_table.py.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PROMPT = "a red ball moves right on a black background"
SEED = 3


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["embedded", "embedded-unet"], help="names or folders")
    parser.add_argument("--rounds", type=int, default=3, help="renders of each kind, after one to warm up")
    parser.add_argument("--device", default=None, help="default: the best there is")
    parser.add_argument("--out", type=Path, default=Path("benchmarks") / "render.json")
    parser.add_argument("--steps", type=int, default=None, help="default: the model's own, as all other settings")
    parser.add_argument("--first-render", metavar="MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.first_render:
        print(json.dumps(first_render(options.first_render, options.device, options.steps)))
        return 0
    result = {"command": "make bench", "machine": machine(options.device), "prompt": PROMPT, "models": {}}
    for name in options.models:
        result["models"][Path(name).name] = measure(name, options)
        print(json.dumps({name: result["models"][Path(name).name]}), file=sys.stderr)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(options.out)
    return 0


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One model's entry: a first render in a fresh process, then renders in turn with diffusers' pipeline."""
    fresh = in_fresh_process(name, options)
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
        taken, video = timed(ours)
        seconds["ours"].append(taken)
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
    """diffusers' own `__call__` with the same settings; gives uint8 frames as the engine rounds them."""
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
    """What a first use costs, in a process of its own: imports and load, render, peak memory."""
    begun = time.perf_counter()
    from videogen import Engine

    engine = Engine.load(name, device=device)
    loaded = time.perf_counter()
    engine.generate(PROMPT, seed=SEED, steps=steps)
    done = time.perf_counter()
    figures = {
        "load_s": round(loaded - begun, 3),
        "load_and_render_s": round(done - begun, 3),
        "peak_memory_mib": round(peak_memory_bytes() / 2**20),
    }
    import torch

    if torch.cuda.is_available():
        figures["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return figures


def in_fresh_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--first-render", name]
    command += ["--device", options.device] if options.device else []
    command += ["--steps", str(options.steps)] if options.steps else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the first render of {name!r} failed with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result; the device has finished when the clock stops, as frames are on the CPU then."""
    gc.collect()
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def identity(model: str) -> dict[str, str]:
    """Which model a report is of, and which weights: `model`, `model_hash`."""
    from videogen.backbones.loading import digest
    from videogen.backbones.registry import EMBEDDED

    return {"model": Path(model).name, "model_hash": digest(EMBEDDED.get(model) or Path(model))}


def machine(device: str | None) -> dict[str, Any]:
    """What the figures were taken on, without naming anybody's computer."""
    import torch

    on_gpu = torch.cuda.is_available() and device != "cpu"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU {platform.machine()}",
        "cpu_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
