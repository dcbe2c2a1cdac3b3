"""LoRAs: time to read, apply and remove one, what a step with it costs, and the model's bits afterwards.

A LoRA of random matrices for every attention and feed-forward layer of each embedded model, in each rank. `read_ms`:
the first time, with the digest of the file; `apply_ms`, `remove_ms`: from the cache, as between two calls of an engine.
`step`, `fused_step`: a step with it next to the layers, and added to the weights as diffusers fuses it, relative to one
without; the medians of renders that alternate. Each removal is checked: the frames after it are those before, bit for
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
from safetensors.torch import load_file, save_file

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


def measure(engine: Engine, fused: Engine, rank: int, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one model and rank. fused: a second engine of the model, which gets the LoRA in its weights.
    AssertionError where something of the LoRA is left on the first."""
    adapters = engine.backbone.adaptation.loras
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"rank{rank}.safetensors"
        layers = write_lora(path, engine.backbone.denoisers()[0], rank)
        loras = [Lora(str(path))]
        first = _seconds(lambda: _apply_once(engine, loras))
        both = [_seconds(lambda: _apply_once(engine, loras)) for _ in range(options.repeats)]
        removals = []
        for _ in range(options.repeats):
            with adapters.apply(loras):
                began = time.perf_counter()
            removals.append(time.perf_counter() - began)
        _fuse(fused, path)
        frames, times = _alternate(engine, fused, str(path), options)
    assert all(np.array_equal(frames["plain"], one) for one in frames["after"]), "the model has other bits than before"
    assert not np.array_equal(frames["plain"], frames["adapted"])
    removed = statistics.median(removals)
    return {
        "layers": layers, "read_ms": round(1000 * first, 1),
        "apply_ms": round(1000 * (statistics.median(both) - removed), 1), "remove_ms": round(1000 * removed, 1),
        "step_ms": round(1000 * times["plain"], 1), "step": round(times["adapted"] / times["plain"], 3),
        "fused_step": round(times["fused"] / times["plain"], 3),
    }  # fmt: skip


def _alternate(
    engine: Engine, fused: Engine, path: str, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, float]]:
    """Frames and median seconds per step of renders without the LoRA, with it, and with it in the weights."""
    frames: dict[str, Any] = {"after": []}
    times: dict[str, list[float]] = {"plain": [], "adapted": [], "fused": []}
    for _ in range(options.rounds):
        for name, its_engine, loras in (("plain", engine, None), ("adapted", engine, [path]), ("fused", fused, None)):
            video = its_engine.generate(PROMPT, seed=1, loras=loras, steps=options.steps)
            assert video.manifest is not None
            times[name].append(video.manifest["timings_s"]["denoise"] / options.steps)
            if name == "plain":
                frames["after"].append(video.frames)
            frames.setdefault(name, video.frames)
    return frames, {name: statistics.median(values) for name, values in times.items()}


def _fuse(engine: Engine, path: Path) -> None:
    """Add a LoRA to a model's weights, as diffusers does it."""
    model: Any = engine.backbone.denoisers()[0]
    state = {name.partition(".")[2]: tensor for name, tensor in load_file(path).items()}
    model.load_lora_adapter(state, prefix=None, adapter_name="bench")
    model.fuse_lora()
    model.unload_lora()


def _apply_once(engine: Engine, loras: list[Lora]) -> None:
    with engine.backbone.adaptation.loras.apply(loras):
        pass


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda, ... (default: the best that is present)")
    parser.add_argument("--offload", help="as for Engine.load, on a GPU")
    parser.add_argument("--repeats", type=int, default=5, help="swaps that are timed; their median counts")
    parser.add_argument("--steps", type=int, default=2, help="steps of each render")
    parser.add_argument("--rounds", type=int, default=3, help="renders of each kind; their median counts")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    rows: dict[str, Any] = {}
    for name in MODELS:
        engine = Engine.load(name, device=options.device, offload=options.offload)
        engine.generate(PROMPT, seed=1, steps=1)  # warm
        for rank in RANKS:
            fused = Engine.load(name, device=options.device, offload=options.offload)
            rows[f"{name}, rank {rank}"] = measure(engine, fused, rank, options)
            print(f"{name}, rank {rank}: {rows[f'{name}, rank {rank}']}", flush=True)
    write_report(options.out / "lora.json", "lora", {"steps": options.steps, "models": rows}, device=options.device)
    return 0
