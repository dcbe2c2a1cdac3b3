"""Placement of a pipeline: on which device it runs, and what stays on the CPU until it is used."""

from __future__ import annotations

from typing import Any

import torch

from videogen.core.errors import UnsupportedError


def best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_device(device: str | None, offload: str | None) -> str:
    """The device of a run. UnsupportedError where it is not available, or offloading has no effect on it."""
    target = device or best_device()
    kind, _, number = target.partition(":")
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "xpu": torch.xpu.device_count(),
    }
    if not counts[kind]:
        raise UnsupportedError(
            f"device={target!r} is not available (none was found, or torch was built without it); use 'cpu'"
        )
    if number and int(number) >= counts[kind]:
        raise UnsupportedError(
            f"device={target!r} is not available: there are {counts[kind]} {kind} devices, counted from 0"
        )
    if offload and kind == "cpu":
        raise UnsupportedError(f"offload={offload!r} needs an accelerator to offload from; leave it out on the CPU")
    return target


def place(pipeline: Any, target: str, offload: str | None) -> None:
    """Move the pipeline to the device, or let accelerate keep its components on the CPU until they are used."""
    if offload and not hasattr(pipeline, "enable_model_cpu_offload"):
        raise UnsupportedError(
            f"offload={offload!r}: {type(pipeline).__name__} is modular, and offloads by a components manager of its "
            "own; build it with one and give it to Engine.from_pipeline"
        )
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=target)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=target)
    else:
        pipeline.to(target)
