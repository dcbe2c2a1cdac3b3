"""How long noise that moves takes, against Go-with-the-Flow's method at its published setting. Part `speed` of
tools/bench_motion.py."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from tools.motion_cases import affine, pan, random_flow, turned, wave
from videogen.motion import Camera, compile_motion
from videogen.schedulers import warped_noise
from videogen.schedulers.warping.bipartite import BipartiteNoise
from videogen.schedulers.warping.maps import FlowMaps

TARGETS_S = {"cpu": 10.0, "cuda": 0.03}
PUBLISHED: dict[str, Any] = {
    "compat": True,
    "oversample": 4,
}  # its LoRAs' own: a grid 4 times finer, motion rounded to it
AGAINST = ("pan", "zoom out")  # the motions timed with the other method too


def motions(steps: int, height: int, width: int) -> dict[str, Callable[[], Any]]:
    """What moves, made when asked for."""
    shape = (steps, height, width)
    return {
        "pan": lambda: pan(1.37, -0.6, *shape),
        "zoom in": lambda: affine(turned(0, 1.015), *shape),
        "zoom out": lambda: affine(turned(0, 1 / 1.015), *shape),
        "rotation": lambda: affine(turned(0.7), *shape),
        "shear": lambda: affine(((1, 0.02), (0, 1)), *shape),
        "wave": lambda: wave(*shape),
        "random flow": lambda: random_flow(*shape),
        "a camera that zooms out, exact maps": lambda: compile_motion(
            Camera(zoom=0.5, roll=10), steps + 1, height, width
        ),
    }


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each motion, and of the published method's first steps; all once a repeat, so that a busy machine
    slows all alike."""
    height, width = options.picture
    cases = motions(options.frames - 1, height, width)
    seconds: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.repeats):
        for name, motion in cases.items():
            made = _on(motion(), options.device)
            if options.device != "cpu" and name not in seconds:  # the first call loads kernels
                warped_noise(made, options.channels, device=options.device)
            seconds.setdefault(name, []).append(
                _timed(lambda made=made: warped_noise(made, options.channels, device=options.device))
            )
            if name in AGAINST:
                seconds.setdefault(f"published, {name}", []).append(_published(made, options))
    ratios = {name: _ratio(seconds[f"published, {name}"], seconds[name]) for name in AGAINST}
    return {
        "picture": [height, width], "frames": options.frames, "channels": options.channels, "threads": torch.get_num_threads(),
        "repeats": options.repeats, "target_s": TARGETS_S[torch.device(options.device).type],
        "seconds": {name: {kind: _median(taken, kind) for kind in taken[0]} for name, taken in seconds.items()},
        "published": {**PUBLISHED, "steps_timed": options.published_steps, "steps_in_all": options.frames - 1},
        "ratio_to_published": ratios,
    }  # fmt: skip


def _on(motion: Any, device: str) -> Any:
    return motion.to(device) if isinstance(motion, torch.Tensor) else motion


def _timed(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds on the clock and of all processors."""
    clock, processors = time.perf_counter(), time.process_time()
    result = work()
    if isinstance(result, torch.Tensor) and result.is_cuda:
        torch.cuda.synchronize()
    return {"wall_s": time.perf_counter() - clock, "cpu_s": time.process_time() - processors}


def _published(flow: torch.Tensor, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the published method: its first frame and its first steps are timed, the steps' mean stands for the
    others."""
    steps, in_all = min(options.published_steps, len(flow)), len(flow)
    maps = FlowMaps(flow[: steps + 1])
    source = BipartiteNoise(
        maps, channels=options.channels, spatial=8, seed=0, device=torch.device(options.device), **PUBLISHED
    )
    begun = _timed(lambda: source.frame(0))
    further = _timed(lambda: source.frame(steps))
    return {kind: begun[kind] + further[kind] * in_all / steps for kind in begun}


def _median(taken: list[dict[str, float]], kind: str) -> float:
    return round(statistics.median(row[kind] for row in taken), 3)


def _ratio(slow: list[dict[str, float]], fast: list[dict[str, float]]) -> float:
    """Median of the repeats' ratios of processor seconds: on a busy machine the clock's depend on who else is there."""
    return round(statistics.median(a["cpu_s"] / b["cpu_s"] for a, b in zip(slow, fast, strict=True)), 1)


def _told(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1e3 * seconds:.0f} ms"


def rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Rows of README's table."""
    height, width = found["picture"]
    where = (
        "a GPU"
        if "CPU" not in found["machine"]["device"]
        else f"{found['threads']} CPU thread{'s' * (found['threads'] != 1)}"
    )
    what = f"warped noise: {found['frames']} frames of {width}x{height}, {found['channels']} channels, on {where}"
    own = {name: row for name, row in found["seconds"].items() if not name.startswith("published")}
    listed = ", ".join(f"{name} {_told(row['wall_s'])}" for name, row in own.items())
    slowest = max(row["wall_s"] for row in own.values())
    yield (
        what,
        f"{listed}; {'within' if slowest <= found['target_s'] else 'over'} the {_told(found['target_s'])} aimed at",
    )
    against = ", ".join(f"{name} {ratio:.0f}x" for name, ratio in found["ratio_to_published"].items())
    timed = found["published"]
    yield (
        "warped noise: less work than Go-with-the-Flow's method at its published setting",
        (f"{against} ({timed['steps_timed']} of its {timed['steps_in_all']} steps timed)"),
    )
