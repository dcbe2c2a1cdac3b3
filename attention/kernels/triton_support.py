"""Where the Triton kernels run, and their entry points. Importable without Triton, which the first call loads."""

from __future__ import annotations

import os
from typing import Any

import torch

from . import packages
from .table import Case


def has_triton() -> bool:
    return packages.missing("triton") is None


def refuses(case: Case) -> str | None:
    """Why the block-sparse kernel cannot take a call; None where it can."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if not has_triton():
        return packages.missing("triton")
    if case.device != "cuda" and not interpreted:
        return f"it needs CUDA, the tensors are on {case.device}"
    if case.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"{case.dtype} is not float16, bfloat16 or float32"
    if interpreted and case.dtype == torch.bfloat16:
        return "Triton's interpreter has no bfloat16 product"
    if max(case.head_dim, case.value_dim) > 256 or case.head_dim != case.value_dim:
        return f"head dims {case.head_dim} and {case.value_dim} must be equal and at most 256"
    return None if min(case.query_block, case.key_block) >= 16 else "blocks must be at least 16 tokens"


def triton_attention(*tensors: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """`triton_blocks.triton_attention`."""
    from . import triton_blocks

    return triton_blocks.triton_attention(*tensors, **options)
