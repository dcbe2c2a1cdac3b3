"""Measure sparse attention: `python tools/bench_attention.py [kernels] [render] [gpu] --out benchmarks`.

kernels: our CPU kernel and search against `F.scaled_dot_product_attention`, in turns within one run. render: the
embedded DiT on a clip of over 8,192 tokens under each policy, against dense: time, density, recall against full dense
attention, PSNR and SSIM. gpu: kernels and random-weight models of real shapes on a CUDA device.

Efficiency is speed-up times density: 1 is a kernel that loses nothing to being sparse.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.bench import identity, machine
from videogen.attention import BlockMap, SparseAttention, audit_map, search, sparse_attention
from videogen.attention.searching import default_query_block

DENSITIES = (0.1, 0.2, 0.3)
PROMPT = "a red ball moves right on a striped background"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["kernels", "render"], choices=["kernels", "render", "gpu"])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each measurement")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--lengths", type=int, nargs="*", default=None, help="tokens (default: 8192 16384; GPU: 32768 118800)"
    )
    parser.add_argument("--frames", type=int, default=129, help="of the rendered clip")
    parser.add_argument("--side", type=int, default=256, help="of the rendered clip, px")
    parser.add_argument("--steps", type=int, default=6, help="of the render")
    parser.add_argument("--model", default="embedded", help="of the render")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if "kernels" in options.parts:
        write(options.out / "attention-kernels.json", "kernels", kernels("cpu", options))
    if "render" in options.parts:
        write(options.out / "attention-render.json", "render", renders(options), identity(options.model))
    if "gpu" in options.parts:
        name = torch.cuda.get_device_name().lower().replace("nvidia", "").strip().replace(" ", "-")
        write(
            options.out / f"attention-{name}.json",
            "gpu",
            {"kernels": kernels("cuda", options), "models": models(options)},
        )
    return 0


def write(path: Path, part: str, figures: dict[str, Any] | list[Any], of: dict[str, str] | None = None) -> None:
    """of: the model that was measured."""
    where = machine("cuda" if part == "gpu" else "cpu")
    content = {"command": f"python tools/bench_attention.py {part}", "machine": where, **(of or {}), part: figures}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(path)


def in_turns(calls: dict[str, Callable[[], Any]], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each call in each round; all calls once a round, so that a busy machine slows all of them."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(once(call, device))
    return seconds


def once(call: Callable[[], Any], device: str) -> float:
    if device != "cuda":
        begun = time.perf_counter()
        call()
        return time.perf_counter() - begun
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1e3


def ratio(seconds: dict[str, list[float]], above: str, below: str) -> float:
    """The least time of `above` over the least of `below`: what else a machine does only adds, and adds to long calls
    the surest."""
    return round(min(seconds[above]) / min(seconds[below]), 4)


def kernels(device: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a dtype, length and head dim: efficiency of the sparse kernel at each density, cost of search and audit."""
    lengths = options.lengths or ([8192, 16384] if device == "cpu" else [32768, 118800])
    dtypes = [torch.float32, torch.bfloat16] if device == "cpu" else [torch.bfloat16]
    heads = 2 if device == "cpu" else 8
    rows = []
    for dtype in dtypes:
        for length in lengths:
            for dim in [64, 128] if device == "cpu" else [128]:
                rows.append(kernel_row(device, dtype, length, heads, dim, options.rounds))
                print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def kernel_row(device: str, dtype: torch.dtype, length: int, heads: int, dim: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, length, heads, dim, device=device, dtype=dtype).transpose(1, 2) for _ in range(3))
    maps = {f"sparse {density}": random_map(length, heads, density, device) for density in DENSITIES}
    calls: dict[str, Callable[[], Any]] = {"dense": lambda: F.scaled_dot_product_attention(q, k, v)}
    calls |= dense_rivals(q, k, v) if device == "cuda" else {}
    calls |= {name: lambda found=found: sparse_attention(q, k, v, found) for name, found in maps.items()}
    full = BlockMap.full(
        1, heads, query_block=default_query_block(q.device), key_block=64, length=length, device=device
    )
    calls["our dense"] = lambda: sparse_attention(q, k, v, full)
    calls["search"] = lambda: search(q, k, recall=0.95, rows=4)
    calls["audit"] = lambda: audit_map(q, k, maps["sparse 0.2"])
    seconds = in_turns(calls, rounds, device)
    dense = [name for name in calls if name == "dense" or name.startswith("sdpa") or name == "flex"]
    best = min(dense, key=lambda name: min(seconds[name]))
    return {
        "dtype": str(dtype).removeprefix("torch."), "length": length, "heads": heads, "head_dim": dim,
        "dense_s": round(min(seconds["dense"]), 5), "best_dense": best,
        "dense_to_best": ratio(seconds, "dense", best),
        "efficiency": {str(d): round(ratio(seconds, best, f"sparse {d}") * maps[f"sparse {d}"].density, 3) for d in DENSITIES},
        "efficiency_to_own_dense": {
            str(d): round(ratio(seconds, "our dense", f"sparse {d}") * maps[f"sparse {d}"].density, 3) for d in DENSITIES
        },
        "speedup": {str(d): round(ratio(seconds, best, f"sparse {d}"), 2) for d in DENSITIES},
        "search_share": ratio(seconds, "search", best), "audit_share": ratio(seconds, "audit", best),
        "map_mib": round(maps["sparse 0.2"].nbytes / 2**20, 3), "rounds": rounds,
    }  # fmt: skip


def random_map(length: int, heads: int, density: float, device: str) -> BlockMap:
    """Each query block keeps an equal share of random key blocks: no order that a kernel could profit from."""
    block = default_query_block(torch.device(device))
    rows, cols = -(-length // block), -(-length // 64)
    rank = torch.rand(1, heads, rows, cols, device=device).argsort(dim=-1).argsort(dim=-1)
    return BlockMap.from_dense(rank < round(density * cols), query_block=block, key_block=64, length=length)


def dense_rivals(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """PyTorch's dense CUDA kernels that run here."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.attention.flex_attention import flex_attention

    def with_backend(backend: SDPBackend) -> Callable[[], Any]:
        def call() -> Any:
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v)

        return call

    compiled = torch.compile(flex_attention, dynamic=False)
    rivals: dict[str, Callable[[], Any]] = {
        "sdpa flash": with_backend(SDPBackend.FLASH_ATTENTION),
        "sdpa cudnn": with_backend(SDPBackend.CUDNN_ATTENTION),
        "flex": lambda: compiled(q, k, v),
    }
    working = {}
    for name, call in rivals.items():
        try:
            call()
            working[name] = call
        except Exception as error:  # a rival that is not here is told and left out
            print(f"{name}: {str(error).splitlines()[0][:120]}", file=sys.stderr)
    return working


def renders(options: argparse.Namespace) -> dict[str, Any]:
    """The same clip dense and under each policy, one after another; then each once more under a full audit of its
    recall."""
    from videogen import Engine

    engine = Engine.load(options.model, device="cpu")
    clip = {
        "frames": options.frames,
        "size": (options.side, options.side),
        "steps": options.steps,
        "seed": 1,
        "continuity": "off",
    }

    def render(attention: SparseAttention | str) -> Any:
        return engine.generate(PROMPT, attention=attention, **clip)

    dense = render("dense")
    base = dense.manifest["timings_s"]["denoise"]
    rows: dict[str, Any] = {}
    for name, config in policies():
        video = render(config)
        told = video.manifest["measured"]["attention"]
        if name == "recall":  # the others at the density that this one found
            density = told["mean_density"]
        rows[name] = {
            "mean_density": told["mean_density"], "least_recall": told["least_recall"], "dense_calls": told["dense"],
            "denoise_s": round(video.manifest["timings_s"]["denoise"], 2),
            "speedup": round(base / video.manifest["timings_s"]["denoise"], 3),
            **fidelity(video.frames, dense.frames),
        }  # fmt: skip
        print(json.dumps({name: rows[name]}), file=sys.stderr)
    audited = render(SparseAttention(audit="full")).manifest["measured"]["attention"]
    measured = [value for row in audited["exact"] for value in row if value is not None]
    window = render(SparseAttention.of_policy("window", min(0.95, max(0.0, 1 - density))))
    rows["window at the density of `recall`"] = {
        "mean_density": window.manifest["measured"]["attention"]["mean_density"],
        **fidelity(window.frames, dense.frames),
    }
    return {
        "clip": {**clip, "tokens": audited["tokens"], "prompt": PROMPT, "model": options.model}, "dense_denoise_s": round(base, 2),
        "policies": rows,
        "full_audit": {
            "promised": 0.95, "least": min(measured, default=None), "cells": len(measured),
            "below": sum(value < 0.95 for value in measured), "dense_calls": audited["dense"],
        },
    }  # fmt: skip


def fidelity(frames: Any, reference: Any) -> dict[str, float | None]:
    """PSNR (None: equal) and SSIM."""
    from videogen.metrics.fidelity import psnr_db, ssim

    decibels = psnr_db(frames, reference)
    return {
        "psnr_db": None if decibels == float("inf") else round(decibels, 2),
        "ssim": round(ssim(frames, reference), 4),
    }


def policies() -> Iterator[tuple[str, SparseAttention]]:
    yield "recall", SparseAttention()
    yield "recall, tile order", SparseAttention(order="tile")
    yield "recall 0.9 with tail", SparseAttention(recall=0.9, tail=True)
    yield "adaspa 0.8", SparseAttention.adaspa(0.8)


def models(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One denoiser call of models with random weights and real shapes at 720p token counts, dense and at fixed
    density."""
    from diffusers import HunyuanVideoTransformer3DModel, WanTransformer3DModel

    def wan() -> tuple[Any, dict[str, torch.Tensor]]:
        model = WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)  # 1.3B
        return model, {
            "hidden_states": torch.randn(1, 16, 21, 90, 160), "timestep": torch.tensor([500]),
            "encoder_hidden_states": torch.randn(1, 512, 4096),
        }  # fmt: skip

    def hunyuan() -> tuple[Any, dict[str, torch.Tensor]]:
        model = HunyuanVideoTransformer3DModel()  # 13B
        return model, {
            "hidden_states": torch.randn(1, 16, 33, 90, 160), "timestep": torch.tensor([500]),
            "encoder_hidden_states": torch.randn(1, 256, 4096), "encoder_attention_mask": torch.ones(1, 256),
            "pooled_projections": torch.randn(1, 768), "guidance": torch.tensor([6000.0]),
        }  # fmt: skip

    return [model_row("Wan 2.1 1.3B", wan, min(3, options.rounds)), model_row("HunyuanVideo 13B", hunyuan, 1)]


def model_row(name: str, build: Callable[[], tuple[Any, dict[str, torch.Tensor]]], rounds: int) -> dict[str, Any]:
    from videogen.attention import attach

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)  # 13B weights in fp32 would not leave room for a clip
    try:
        with torch.device("cuda"):
            model, inputs = build()
    finally:
        torch.set_default_dtype(usual)
    model = model.eval()
    inputs = {key: x.to(torch.bfloat16) if x.is_floating_point() else x for key, x in inputs.items()}
    seconds: dict[str, list[float]] = {}
    tokens = 0
    with torch.inference_mode():
        seconds |= in_turns({"dense": lambda: model(**inputs, return_dict=False)}, rounds, "cuda")
        for density in DENSITIES:
            with attach(model, SparseAttention.of_policy("window", 1 - density)) as handle:
                seconds |= in_turns({f"density {density}": lambda: model(**inputs, return_dict=False)}, rounds, "cuda")
                tokens = handle.report()["tokens"]
    row = {"model": name, "tokens": tokens, "dense_s": round(min(seconds["dense"]), 4)}
    row |= {"speedup": {label: ratio(seconds, "dense", label) for label in seconds if label != "dense"}}
    print(json.dumps(row), file=sys.stderr)
    return row


if __name__ == "__main__":
    sys.exit(main())
