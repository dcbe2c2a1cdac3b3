"""Propagation on models of real shapes with random weights.

Seconds per step over a short run of each kind, alternating: plain, Faster Diffusion's list step by step and decoded
ahead, a cut that reads the latents, the output boundary; and the memory of the cached features. Meant for a GPU (`make
gpu`); `--tiny` shrinks the models so that the benchmark itself can be tried anywhere. Writes
benchmarks/propagation-models.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tools.bench.files import BENCHMARKS, show_progress, write_report
from videogen.propagation import StepCaching, attach

STEPS = 20


@dataclass(frozen=True)
class Shape:
    """How to build a model, its inputs (guidance batch of 2), and the name of its latents."""

    build: Callable[[bool], Any]
    inputs: Callable[[bool], dict[str, torch.Tensor]]
    latents: str = "sample"


def animatediff(tiny: bool) -> Any:
    from diffusers import UNetMotionModel

    small: dict[str, Any] = (
        {"block_out_channels": (32, 64, 64, 64), "cross_attention_dim": 16, "num_attention_heads": 2} if tiny else {}
    )
    return UNetMotionModel(**({"cross_attention_dim": 768} | small), use_motion_mid_block=False)


def animatediff_inputs(tiny: bool) -> dict[str, torch.Tensor]:
    frames, side, width = (4, 16, 16) if tiny else (16, 64, 768)
    return {
        "sample": torch.randn(2, 4, frames, side, side),
        "encoder_hidden_states": torch.randn(2 * frames, 77, width),
    }


def svd(tiny: bool) -> Any:
    from diffusers import UNetSpatioTemporalConditionModel

    small: dict[str, Any] = {
        "block_out_channels": (32, 64, 64, 64),
        "num_attention_heads": (1, 2, 2, 2),
        "cross_attention_dim": 16,
    }
    return UNetSpatioTemporalConditionModel(**(small if tiny else {}))


def svd_inputs(tiny: bool) -> dict[str, torch.Tensor]:
    frames, height, width, text = (4, 16, 16, 16) if tiny else (25, 72, 128, 1024)
    return {
        "sample": torch.randn(2, frames, 8, height, width), "encoder_hidden_states": torch.randn(2, 1, text),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]] * 2),
    }  # fmt: skip


def wan(tiny: bool) -> Any:
    from diffusers import WanTransformer3DModel

    small = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "ffn_dim": 32,
        "num_layers": 4,
        "text_dim": 16,
        "freq_dim": 16,
    }
    return WanTransformer3DModel(**(small if tiny else {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}))


def wan_inputs(tiny: bool) -> dict[str, torch.Tensor]:
    frames, height, width, tokens, text = (5, 8, 8, 8, 16) if tiny else (21, 60, 104, 512, 4096)
    return {
        "hidden_states": torch.randn(1, 16, frames, height, width),
        "encoder_hidden_states": torch.randn(1, tokens, text),
    }


SHAPES = {
    "AnimateDiff": Shape(animatediff, animatediff_inputs),
    "SVD-XT": Shape(svd, svd_inputs),
    "Wan 1.3B": Shape(wan, wan_inputs, "hidden_states"),
}
UNET_KINDS: dict[str, StepCaching | None] = {
    "plain": None,
    "fd, one by one": StepCaching(keys="fd", boundary="fd", predictor="hold", micro_batch=1),
    "fd, ahead": StepCaching(keys="fd", boundary="fd", predictor="hold"),
    "cut:1,1 on fd's keys": StepCaching(keys="fd", boundary="cut:1,1"),
}
DIT_KINDS: dict[str, StepCaching | None] = {
    "plain": None,
    "blocks:1,1 on fd's keys": StepCaching(keys="fd", boundary="blocks:1,1"),
    "output on fd's keys": StepCaching(keys="fd", boundary="output"),
}


class Scheduler:
    """The parts of a diffusers scheduler that propagation reads."""

    def __init__(self) -> None:
        self.timesteps = torch.linspace(980, 20, STEPS).round().long()
        self.num_inference_steps = STEPS
        self.alphas_cumprod = torch.linspace(0.999, 0.01, 1000)
        self.config = {"prediction_type": "epsilon"}


@torch.inference_mode()
def measure(name: str, tiny: bool, device: str, rounds: int) -> dict[str, Any]:
    shape, dtype = SHAPES[name], torch.float32 if device == "cpu" else torch.bfloat16
    model = shape.build(tiny).to(device, dtype).eval()
    inputs = {key: value.to(device, dtype) for key, value in shape.inputs(tiny).items()}
    kinds = UNET_KINDS if shape.latents == "sample" else DIT_KINDS
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    cached_bytes: dict[str, int] = {}
    for turn in range(rounds + 1):
        for kind, config in kinds.items():
            run_s, bytes_cached = _run(model, inputs, config, device)
            if turn:  # the first round warms up
                seconds[kind].append(run_s / STEPS)
            cached_bytes[kind] = bytes_cached
    plain = statistics.median(seconds["plain"])
    rows = {}
    for kind, values in seconds.items():
        typical = statistics.median(values)
        rows[kind] = {
            "step_s": round(typical, 5),
            "speedup": round(plain / typical, 3),
            "cached_mib": round(cached_bytes[kind] / 2**20, 1),
        }
    show_progress({name: rows})
    return {"parameters": sum(p.numel() for p in model.parameters()), "kinds": rows}


def _run(model: Any, inputs: dict[str, torch.Tensor], config: StepCaching | None, device: str) -> tuple[float, int]:
    """(seconds of all steps, bytes cached at the end)."""
    scheduler = Scheduler()
    handle = None if config is None else attach(model, config, scheduler=scheduler)
    try:
        _wait(device)
        start = time.perf_counter()
        for timestep in scheduler.timesteps.to(device):
            model(timestep=timestep.expand(1) if "hidden_states" in inputs else timestep, **inputs, return_dict=False)
        _wait(device)
        return time.perf_counter() - start, sum(cut.cached_bytes() for cut in handle.cuts) if handle else 0
    finally:
        if handle is not None:
            handle.close()


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", default=list(SHAPES), help=", ".join(SHAPES))
    parser.add_argument("--tiny", action="store_true", help="shrunken models, to try the benchmark itself")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    models = {name: measure(name, options.tiny, options.device, options.rounds) for name in options.models}
    path = options.out / "propagation-models.json"
    write_report(path, "propagation-models", {"steps": STEPS, "models": models}, device=options.device)
    return 0
