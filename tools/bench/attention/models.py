"""Sparse attention on models of real shapes with random weights, on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tools.bench.attention.kernels import DENSITIES
from tools.bench.attention.timing import ratio, time_alternating
from tools.bench.files import show_progress
from videogen.attention import SparseAttention


def measure_models(rounds: int) -> list[dict[str, Any]]:
    """One denoiser call per model with random weights at 720p token counts, dense and at fixed densities."""
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

    return [model_row("Wan 2.1 1.3B", wan, min(3, rounds)), model_row("HunyuanVideo 13B", hunyuan, 1)]


def model_row(name: str, build: Callable[[], tuple[Any, dict[str, torch.Tensor]]], rounds: int) -> dict[str, Any]:
    from videogen.attention import attach

    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)  # 13B weights in fp32 would not leave room for a clip
    try:
        with torch.device("cuda"):
            model, inputs = build()
    finally:
        torch.set_default_dtype(default_dtype)
    model = model.eval()
    inputs = {key: x.to(torch.bfloat16) if x.is_floating_point() else x for key, x in inputs.items()}
    seconds: dict[str, list[float]] = {}
    tokens = 0
    with torch.inference_mode():
        seconds |= time_alternating({"dense": lambda: model(**inputs, return_dict=False)}, rounds, "cuda")
        for density in DENSITIES:
            with attach(model, SparseAttention.from_policy("window", 1 - density)) as handle:
                seconds |= time_alternating(
                    {f"density {density}": lambda: model(**inputs, return_dict=False)}, rounds, "cuda"
                )
                tokens = handle.report()["tokens"]
    row = {"model": name, "tokens": tokens, "dense_s": round(min(seconds["dense"]), 4)}
    row |= {"speedup": {label: ratio(seconds, "dense", label) for label in seconds if label != "dense"}}
    show_progress(row)
    return row
