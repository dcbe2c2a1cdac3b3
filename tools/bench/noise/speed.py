"""Speed of warped noise against Go-with-the-Flow's method at its published setting."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tools.bench.noise.flows import affine, pan, random_flow, rotation_zoom, wave
from videogen.motion import Camera, compile_motion
from videogen.schedulers import warped_noise
from videogen.schedulers.warping.bipartite import BipartiteNoise
from videogen.schedulers.warping.maps import FlowMaps

TARGETS_S = {"cpu": 10.0, "cuda": 0.03}
PUBLISHED: dict[str, Any] = {
    "compat": True,
    "oversample": 4,
}  # as its LoRAs were trained: a grid 4 times finer, to which motion is rounded
AGAINST = ("pan", "zoom out")  # the motions that are timed with the published method too


def motions(steps: int, height: int, width: int) -> dict[str, Callable[[], Any]]:
    """Motions by name; each is computed when it is called."""
    shape = (steps, height, width)
    return {
        "pan": lambda: pan(1.37, -0.6, *shape),
        "zoom in": lambda: affine(rotation_zoom(0, 1.015), *shape),
        "zoom out": lambda: affine(rotation_zoom(0, 1 / 1.015), *shape),
        "rotation": lambda: affine(rotation_zoom(0.7), *shape),
        "shear": lambda: affine(((1, 0.02), (0, 1)), *shape),
        "wave": lambda: wave(*shape),
        "random flow": lambda: random_flow(*shape),
        "a camera that zooms out, exact maps": lambda: compile_motion(
            Camera(zoom=0.5, roll=10), steps + 1, height, width
        ),
    }


def measure_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each motion, and of the published method's first steps; all alternate, so that a busy machine slows
    all."""
    height, width = options.size_px
    cases = motions(options.frames - 1, height, width)
    seconds: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.repeats):
        for name, motion in cases.items():
            field = _on(motion(), options.device)
            if options.device != "cpu" and name not in seconds:  # the first call loads kernels
                warped_noise(field, options.channels, device=options.device)
            ours = partial(warped_noise, field, options.channels, device=options.device)
            seconds.setdefault(name, []).append(_timed(ours))
            if name in AGAINST:
                seconds.setdefault(f"published, {name}", []).append(_published(field, options))
    ratios = {name: _ratio(seconds[f"published, {name}"], seconds[name]) for name in AGAINST}
    return {
        "size_px": [height, width], "frames": options.frames, "channels": options.channels,
        "threads": torch.get_num_threads(),
        "repeats": options.repeats, "target_s": TARGETS_S[torch.device(options.device).type],
        "seconds": {name: {kind: _median(rows, kind) for kind in rows[0]} for name, rows in seconds.items()},
        "published": {**PUBLISHED, "steps_timed": options.published_steps, "steps_total": options.frames - 1},
        "ratio_to_published": ratios,
    }  # fmt: skip


def _on(motion: Any, device: str) -> Any:
    return motion.to(device) if isinstance(motion, torch.Tensor) else motion


def _timed(work: Callable[[], Any]) -> dict[str, float]:
    """Wall-clock and CPU seconds."""
    clock, processors = time.perf_counter(), time.process_time()
    result = work()
    if isinstance(result, torch.Tensor) and result.is_cuda:
        torch.cuda.synchronize()
    return {"wall_s": time.perf_counter() - clock, "cpu_s": time.process_time() - processors}


def _published(flow: torch.Tensor, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the published method: its first frame and first steps are timed, and their mean is used for the
    others."""
    steps, total = min(options.published_steps, len(flow)), len(flow)
    maps = FlowMaps(flow[: steps + 1])
    source = BipartiteNoise(
        maps, channels=options.channels, spatial=8, seed=0, device=torch.device(options.device), **PUBLISHED
    )
    first = _timed(lambda: source.frame(0))
    further = _timed(lambda: source.frame(steps))
    return {kind: first[kind] + further[kind] * total / steps for kind in first}


def _median(rows: list[dict[str, float]], kind: str) -> float:
    return round(statistics.median(row[kind] for row in rows), 3)


def _ratio(slow: list[dict[str, float]], fast: list[dict[str, float]]) -> float:
    """Median of the repeats' ratios of CPU seconds: on a busy machine the wall clock depends on other load."""
    return round(statistics.median(a["cpu_s"] / b["cpu_s"] for a, b in zip(slow, fast, strict=True)), 1)
