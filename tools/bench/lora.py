"""LoRAs: time to read, apply and remove one, what a step with it costs, and the model's bits afterwards.

A LoRA of random matrices for every attention and feed-forward layer of each embedded model, in each rank. `read_ms`:
the first time, with the digest of the file; `apply_ms`, `remove_ms`: from the cache, as between two calls of an engine.
`step`: a step with it, relative to one without. Each removal is checked: the frames after it are those before, bit for
bit. Writes benchmarks/lora.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tools.bench.files import BENCHMARKS, write_report
from videogen import Engine, Lora

MODELS = ("embedded", "embedded-unet")
RANKS = (8, 64)
PROMPT = "a red ball moves right on a black background"
_BLOCKS = ("attn", "ff.net", "ffn.net")


def write_lora(path: Path, model: torch.nn.Module, rank: int) -> int:
    """Write a LoRA of a model's attention and feed-forward layers; returns the number of layers."""
    generator = torch.Generator().manual_seed(0)
    role = "unet" if type(model).__name__.startswith("UNet") else "transformer"
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and any(part in name for part in _BLOCKS):
            down = torch.randn(rank, layer.in_features, generator=generator) / layer.in_features**0.5
            tensors[f"{role}.{name}.lora_A.weight"] = down
            tensors[f"{role}.{name}.lora_B.weight"] = 0.05 * torch.randn(layer.out_features, rank, generator=generator)
    save_file(tensors, path)
    return len(tensors) // 2


def measure(engine: Engine, rank: int, repeats: int) -> dict[str, Any]:
    """Figures of one model and rank. AssertionError where something of the LoRA is left on the model."""
    adapters = engine.backbone.adaptation.loras
    model = engine.backbone.denoisers()[0]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"rank{rank}.safetensors"
        layers = write_lora(path, model, rank)
        loras = [Lora(str(path))]
        first = _seconds(lambda: _apply_once(engine, loras))
        both = [_seconds(lambda: _apply_once(engine, loras)) for _ in range(repeats)]
        with adapters.apply(loras):
            began = time.perf_counter()
        removed = time.perf_counter() - began
        plain, adapted = _render(engine, None), _render(engine, [str(path)])
        after = _render(engine, None)
    assert np.array_equal(plain.frames, after.frames), "the model has other bits than before"
    assert not np.array_equal(plain.frames, adapted.frames)
    times = [video.manifest["timings_s"]["denoise"] for video in (plain, adapted)]
    apply_ms = 1000 * (statistics.median(both) - removed)
    return {
        "layers": layers, "read_ms": round(1000 * first, 1), "apply_ms": round(apply_ms, 1),
        "remove_ms": round(1000 * removed, 1), "step": round(times[1] / times[0], 3),
    }  # fmt: skip


def _apply_once(engine: Engine, loras: list[Lora]) -> None:
    with engine.backbone.adaptation.loras.apply(loras):
        pass


def _render(engine: Engine, loras: list[str] | None) -> Any:
    return engine.generate(PROMPT, seed=1, loras=loras)


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda, ... (default: the best that is present)")
    parser.add_argument("--offload", help="as for Engine.load, on a GPU")
    parser.add_argument("--repeats", type=int, default=10, help="swaps that are timed; their median counts")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    rows: dict[str, Any] = {}
    for name in MODELS:
        engine = Engine.load(name, device=options.device, offload=options.offload)
        engine.generate(PROMPT, seed=1)  # warm
        for rank in RANKS:
            rows[f"{name}, rank {rank}"] = measure(engine, rank, options.repeats)
            print(f"{name}, rank {rank}: {rows[f'{name}, rank {rank}']}")
    write_report(options.out / "lora.json", "lora", {"models": rows}, device=options.device)
    return 0
