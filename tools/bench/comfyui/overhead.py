"""What a node adds to a step at its exact setting: plain runs and runs with it, alternating, in CPU time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from tools.bench.comfyui.host import Host
from tools.bench.files import show_progress
from tools.bench.render import PROMPT, SEED

TARGET = 0.03  # of a step
STEPS, SIDE, FRAMES = 8, 128, 33
#: name -> MODEL with the node at its exact setting
EXACT: dict[str, Callable[[Host], Any]] = {
    "Adaptive Sparse Attention, recall 1": lambda host: _execute(
        host, "AdaptiveSparseAttention", "recall", 1.0, 0.8, min_tokens=1
    ),
    "Propagation, every:1": lambda host: _execute(host, "Propagation", "every:1"),
    "Dual-Clock Motion, strength 0": lambda host: _execute(
        host, "DualClockMotion", {"samples": torch.ones(_latents())}, torch.ones(FRAMES, SIDE, SIDE), 0.95, 0.85, 0.0
    ),
    "Kernel Guard": lambda host: _execute(host, "KernelGuard", "stop"),
    "Long Context, a clip of its length": lambda host: _execute(host, "LongContext", FRAMES),
    "Long Context, record": lambda host: _execute(host, "LongContext", FRAMES, record=True),
}


def measure_overhead(host: Host, renders: int) -> dict[str, Any]:
    """Rows per node: the median over rounds of the ratio of its time to the plain run's, less 1."""
    return {
        "target": TARGET, "steps": STEPS, "side_px": SIDE, "frames": FRAMES, "rounds": renders,
        "rows": {name: _measure(host, name, build(host), renders) for name, build in EXACT.items()},
    }  # fmt: skip


def _measure(host: Host, name: str, model: Any, rounds: int) -> dict[str, Any]:
    plain, expected = _run(host, host.model)
    _, found = _run(host, model)
    ratios = []
    for number in range(rounds):
        times = {}
        for which in ("plain", "node") if number % 2 else ("node", "plain"):
            times[which], _ = _run(host, host.model if which == "plain" else model)
        ratios.append(times["node"] / times["plain"])
    row = {
        "overhead": round(statistics.median(ratios) - 1, 4),
        "plain_step_cpu_ms": round(1000 * plain / STEPS, 2),
        "bit_identical": torch.equal(found, expected),
    }
    show_progress({"node": name} | row)
    return row


def _run(host: Host, model: Any) -> tuple[float, torch.Tensor]:
    start = time.process_time()
    found = host.sample(model, PROMPT, SEED, steps=STEPS, side=SIDE, frames=FRAMES)
    return time.process_time() - start, found


def _latents() -> tuple[int, ...]:
    return (1, 16, (FRAMES - 1) // 4 + 1, SIDE // 8, SIDE // 8)


def _execute(host: Host, name: str, *args: Any, **kwargs: Any) -> Any:
    return host.nodes[name].execute(host.model, *args, **kwargs).result[0]
