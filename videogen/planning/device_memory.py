"""Memory of a device: how much is free, and how much of it a plan leaves to what it does not count."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

#: Of a CUDA context, and the fraction for kernels' workspaces and the allocator's gaps. Not measured.
_CONTEXT_BYTES, _SLACK = 600_000_000, 0.04


def is_here(device: torch.device) -> bool:
    """Whether a device is of this machine."""
    if device.type == "cpu":
        return True
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "mps" and torch.backends.mps.is_available()


def available_bytes(device: torch.device) -> int | None:
    """Free memory of a device; None where it is not of this machine or does not say."""
    if not is_here(device):
        return None
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return _free_main_memory()


def reserve_bytes(device: torch.device, peak: int) -> int:
    """What a render takes besides what is counted."""
    return 0 if device.type == "cpu" else _CONTEXT_BYTES + int(_SLACK * peak)


def _free_main_memory() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
