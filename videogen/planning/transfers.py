"""Copies of weights from the host to an accelerator: their time per byte on this machine."""

from __future__ import annotations

import torch

from .calibration import Calibration

_SAMPLE_BYTES = 64 << 20


def copy_seconds_per_byte(calibration: Calibration) -> float:
    """Of pinned memory; 0 on a CPU, where nothing is copied."""
    device = calibration.device
    if device.type == "cpu":
        return 0.0

    def measure() -> float:
        host = torch.empty(_SAMPLE_BYTES, dtype=torch.uint8).pin_memory()
        return calibration.time(lambda: host.to(device, non_blocking=True)) / _SAMPLE_BYTES

    return calibration.stored("copy", measure)
