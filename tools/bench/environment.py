"""Environment of a measurement: machine, model weights, memory, fresh processes."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def identity(model: str) -> dict[str, str]:
    """Which model and which weights were measured: `model`, `model_hash`."""
    from videogen.backbones.digest import digest
    from videogen.backbones.registry import EMBEDDED

    return {"model": Path(model).name, "model_hash": digest(EMBEDDED.get(model) or Path(model))}


def machine(device: str | None) -> dict[str, Any]:
    """The machine that was measured, without anything that names its owner."""
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


def peak_memory_bytes() -> int:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def bench_in_fresh_process(arguments: Sequence[str]) -> dict[str, Any]:
    """Run `python -m tools.bench ARGUMENTS` in a process of its own and read the JSON object on its last line."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "tools.bench", *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(arguments)} exited with {result.returncode}: {result.stderr[-2000:]}")
    return dict(json.loads(result.stdout.splitlines()[-1]))
