"""Sparse attention against dense attention: kernels, a render, models of real shapes.

kernels: our CPU kernel and search against `F.scaled_dot_product_attention`, alternating within one run. render: the
embedded DiT on a clip of over 8,192 tokens under each policy, against dense attention: time, density, recall against
full dense attention, PSNR and SSIM. gpu: kernels and random-weight models of real shapes on a CUDA device.

Efficiency is speedup times density: 1 means that sparsity costs the kernel nothing. Writes benchmarks/attention-*.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from tools.bench.attention.kernels import measure_kernels
from tools.bench.attention.models import measure_models
from tools.bench.attention.render import measure_renders
from tools.bench.files import BENCHMARKS, write_report

PARTS = ("kernels", "render", "gpu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", default=["kernels", "render"], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each measurement")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--lengths", type=int, nargs="*", default=None, help="kernels: tokens (default: 8192 16384; GPU: 32768 118800)"
    )
    parser.add_argument("--frames", type=int, default=129, help="render: frames of the clip")
    parser.add_argument("--side", type=int, default=256, help="render: width and height of the clip, px")
    parser.add_argument("--steps", type=int, default=6, help="render: steps")
    parser.add_argument("--model", default="embedded", help="render: name or folder")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the reports")


def run(options: argparse.Namespace) -> int:
    torch.set_num_threads(options.threads)
    if "kernels" in options.parts:
        figures: dict[str, Any] = {"kernels": measure_kernels("cpu", options.lengths, options.rounds)}
        write_report(options.out / "attention-kernels.json", "attention kernels", figures, device="cpu")
    if "render" in options.parts:
        figures = {"render": measure_renders(options)}
        path = options.out / "attention-render.json"
        write_report(path, "attention render", figures, device="cpu", model=options.model)
    if "gpu" in options.parts:
        name = torch.cuda.get_device_name().lower().replace("nvidia", "").strip().replace(" ", "-")
        kernels = measure_kernels("cuda", options.lengths, options.rounds)
        figures = {"gpu": {"kernels": kernels, "models": measure_models(options.rounds)}}
        write_report(options.out / f"attention-{name}.json", "attention gpu", figures, device="cuda")
    return 0
