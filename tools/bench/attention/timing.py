"""Timing of calls that alternate, so that a busy machine slows down all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


def time_alternating(calls: dict[str, Callable[[], Any]], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one call to warm up; every round runs all calls."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(time_once(call, device))
    return seconds


def time_once(call: Callable[[], Any], device: str) -> float:
    if device != "cuda":
        start_s = time.perf_counter()
        call()
        return time.perf_counter() - start_s
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1e3


def ratio(seconds: dict[str, list[float]], above: str, below: str) -> float:
    """The minimum of `above` over the minimum of `below`: other load on the machine only adds time."""
    return round(min(seconds[above]) / min(seconds[below]), 4)
