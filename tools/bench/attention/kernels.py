"""Kernels of sparse attention against PyTorch's dense attention, over random block maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from tools.bench.attention.timing import ratio, time_alternating
from tools.bench.files import show_progress
from videogen.attention import BlockMap, audit_map, search, sparse_attention
from videogen.attention.searching import default_query_block

DENSITIES = (0.1, 0.2, 0.3)


def measure_kernels(device: str, lengths: list[int] | None, rounds: int) -> list[dict[str, Any]]:
    """One row per dtype, length and head dim: efficiency of the sparse kernel at each density, cost of search and
    audit."""
    lengths = lengths or ([8192, 16384] if device == "cpu" else [32768, 118800])
    dtypes = [torch.float32, torch.bfloat16] if device == "cpu" else [torch.bfloat16]
    heads = 2 if device == "cpu" else 8
    rows = []
    for dtype in dtypes:
        for length in lengths:
            for dim in [64, 128] if device == "cpu" else [128]:
                rows.append(kernel_row(device, dtype, length, heads, dim, rounds))
                show_progress(rows[-1])
    return rows


def kernel_row(device: str, dtype: torch.dtype, length: int, heads: int, dim: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, length, heads, dim, device=device, dtype=dtype).transpose(1, 2) for _ in range(3))
    maps = {f"sparse {density}": random_map(length, heads, density, device) for density in DENSITIES}
    calls: dict[str, Callable[[], Any]] = {"dense": lambda: F.scaled_dot_product_attention(q, k, v)}
    calls |= dense_rivals(q, k, v) if device == "cuda" else {}
    calls |= {name: partial(sparse_attention, q, k, v, block_map) for name, block_map in maps.items()}
    full = BlockMap.full(
        1, heads, query_block=default_query_block(q.device), key_block=64, length=length, device=device
    )
    calls["our dense"] = lambda: sparse_attention(q, k, v, full)
    calls["search"] = lambda: search(q, k, recall=0.95, rows=4)
    calls["audit"] = lambda: audit_map(q, k, maps["sparse 0.2"])
    seconds = time_alternating(calls, rounds, device)
    dense = [name for name in calls if name == "dense" or name.startswith("sdpa") or name == "flex"]
    best = min(dense, key=lambda name: min(seconds[name]))
    efficiency = {
        dense: {str(d): round(ratio(seconds, dense, f"sparse {d}") * maps[f"sparse {d}"].density, 3) for d in DENSITIES}
        for dense in (best, "our dense")
    }
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "length": length,
        "heads": heads,
        "head_dim": dim,
        "dense_s": round(min(seconds["dense"]), 5),
        "best_dense": best,
        "dense_to_best": ratio(seconds, "dense", best),
        "efficiency": efficiency[best],
        "efficiency_to_own_dense": efficiency["our dense"],
        "speedup": {str(d): round(ratio(seconds, best, f"sparse {d}"), 2) for d in DENSITIES},
        "search_fraction": ratio(seconds, "search", best),
        "audit_fraction": ratio(seconds, "audit", best),
        "map_mib": round(maps["sparse 0.2"].nbytes / 2**20, 3),
        "rounds": rounds,
    }


def random_map(length: int, heads: int, density: float, device: str) -> BlockMap:
    """Each query block keeps the same fraction of random key blocks, an order that no kernel can profit from."""
    block = default_query_block(torch.device(device))
    rows, cols = -(-length // block), -(-length // 64)
    rank = torch.rand(1, heads, rows, cols, device=device).argsort(dim=-1).argsort(dim=-1)
    return BlockMap.from_dense(rank < round(density * cols), query_block=block, key_block=64, length=length)


def dense_rivals(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """PyTorch's dense CUDA kernels that run on this machine."""
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
        except Exception as error:  # a kernel that does not run here is reported and left out
            show_progress({name: str(error).splitlines()[0][:120]})
    return working
