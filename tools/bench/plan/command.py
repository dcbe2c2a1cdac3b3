"""Memory plans against renders: peak memory and time by stage, of the embedded models and of random ones of a middle
size, on one thread of a CPU; and plans of published shapes from configurations alone.

Peaks are compared with a counter of the storages that operators hand out on real tensors, times with the least CPU time
of several renders, which a busy machine changes least. Writes benchmarks/plan.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tools.bench.environment import machine
from tools.bench.files import BENCHMARKS, write_report
from videogen import Engine, RenderRequest
from videogen.core.byte_sizes import parse_bytes
from videogen.planning.calibration import Calibration
from videogen.planning.device_memory import reserve_bytes
from videogen.planning.plan import RenderCounts, candidates, plan_options
from videogen.planning.planned_model import plan_loaded_model, read_planned_model
from videogen.planning.resident import transferred_bytes
from videogen.planning.stage_counts import DECODE, DENOISE, STAGES

from .measuring import measure
from .random_models import MODELS
from .shapes import SHAPES, Shape, write_folder

TARGETS = {"peak_error": 0.1, "time_error": 0.15}
PROMPT = "a red ball moves right on a black background"
_GIB = 2**30
#: of the plans on paper
_DEVICE = torch.device("cuda")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=4, help="renders per model; the fastest counts; 0: no times")
    parser.add_argument("--steps", type=int, default=2, help="denoising steps of each clip")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        renders = {name: compare(build(), options.steps, options.repeats) for name, build in MODELS.items()}
        shapes = {name: plan_shape(shape) for name, shape in SHAPES.items()}
        report = {"machine": machine("cpu"), "targets": TARGETS, "renders": renders, "shapes": shapes}
    finally:
        torch.set_num_threads(threads)
    for name, row in (renders | shapes).items():
        print(name, row)
    write_report(options.out / "plan.json", "plan", report, device="cpu")
    return 0


def compare(engine: Engine, steps: int, repeats: int) -> dict[str, Any]:
    """Planned and measured (peak bytes with the weights, CPU seconds of a call) by stage."""
    defaults = engine.backbone.defaults
    request = RenderRequest(PROMPT, frames=min(defaults.frames, 17), steps=steps, continuity="off")
    model = plan_loaded_model(engine.backbone)
    counts = RenderCounts(model, request.resolve(model.backbone), torch.device("cpu"), None)
    option = counts.under(_plain())
    stages = {stage.name: stage for stage in option.stages}
    calls = {DENOISE: counts.denoise, DECODE: counts.decode(_plain())}
    peaks = measure(engine, request, counts=True)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    planned: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        clocks = measure(engine, request, counts=False)
        calibration = Calibration(torch.device("cpu"), clock=time.process_time)
        for name, count in calls.items():
            per_render = clocks[name].seconds  # decoding is several calls: latents to pixels, pixels to uint8
            seconds[name].append(sum(per_render) if name == DECODE else min(per_render))
            planned[name].append(calibration.seconds(count.calls))
    found: dict[str, Any] = {}
    for name in STAGES:
        resident, peak = stages[name].resident, peaks[name].peak
        found[name] = _pair("peak_bytes", stages[name].peak, resident + peak)
        if name in calls and repeats:
            found[name] |= _pair("seconds", min(planned[name]), min(seconds[name]))
    return found


def plan_shape(shape: Shape) -> dict[str, Any]:
    """The plan of each published clip, and the figures that another program counted for it."""
    with tempfile.TemporaryDirectory() as folder:
        write_folder(shape, Path(folder) / "model")
        model = read_planned_model(str(Path(folder) / "model"), torch.bfloat16)
        rows = {}
        for clip in shape.clips:
            request = RenderRequest(PROMPT, frames=clip.frames, width=clip.width, height=clip.height, continuity="off")
            started = time.perf_counter()
            counts = RenderCounts(model, request.resolve(model.backbone), _DEVICE, None)
            plain = counts.under(_plain())
            took = time.perf_counter() - started
            rows[f"{clip.frames} frames of {clip.width}x{clip.height}"] = {
                "weights_gib": {name: round(size.total / _GIB, 2) for name, size in counts.weights.plain.items()},
                "activations_gib": {s.name: round(s.activations / _GIB, 2) for s in plain.stages},
                "peak_gib": {s.name: round(s.peak / _GIB, 2) for s in plain.stages},
                "counted_before_gib": {"denoise": clip.gib[0], "decode": clip.gib[1]},
                "tflop_per_render": round(sum(s.flops for s in plain.stages) / 1e12, 1),
                "planned_in_s": round(took, 1),
                "smallest": list(_smallest(counts)),
            }
    return {"weights_before_gib": list(shape.weights_gib), "clips": rows}


def _smallest(counts: RenderCounts) -> Iterator[dict[str, Any]]:
    """What 8, 12, 16 and 24 GB choose, and the bytes of weights that are then copied per render; for a model that fits
    in no form, the smallest."""
    options = list(plan_options(counts, candidates(counts.request, _DEVICE)))
    for size in ("8GB", "12GB", "16GB", "24GB"):
        limit = parse_bytes(size, "memory")
        chosen = next((one for one in options if one.peak + reserve_bytes(_DEVICE, one.peak) <= limit), None)
        found = chosen or min(options, key=lambda one: one.peak)
        copied = transferred_bytes(counts.weights, found.residency, DENOISE)
        yield {
            "memory": size, "fits": chosen is not None, "residency": found.residency.describe(),
            "peak_gib": {stage.name: round(stage.peak / _GIB, 2) for stage in found.stages},
            "copied_gib_per_step": round(copied / _GIB, 2),
        }  # fmt: skip


def _plain() -> Any:
    from videogen.backbones.residency import Residency

    return Residency()


def _pair(name: str, planned: float, measured: float) -> dict[str, Any]:
    return {
        f"planned_{name}": round(planned, 5), f"measured_{name}": round(measured, 5),
        f"{name}_error": round(planned / measured - 1, 3),
    }  # fmt: skip
