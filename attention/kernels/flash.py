"""Dense kernel of the flash-attn package: version 3 (`flash_attn_interface`, Hopper) where it is installed, else
version 2.

Both take [batch, length, heads, head_dim] and give the natural log-sum-exp as [batch, heads, length].
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

from . import packages

_MODULES = ("flash_attn_interface", "flash_attn")


def missing() -> str | None:
    """Why it cannot be called; None where it can."""
    reasons = [packages.missing(name, "flash-attn") for name in _MODULES]
    broken = (reason for reason in reasons if reason and "not installed" not in reason)
    return None if None in reasons else next(broken, reasons[0])


def flash_attn(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(out [b, h, l, d], lse fp32 [b, h, l]) of half-precision tensors [b, h, l, d] on CUDA."""
    swapped = (x.transpose(1, 2) for x in (query, key, value))
    out, lse, *_ = _function()(*swapped, softmax_scale=scale, return_attn_probs=True)
    return out.transpose(1, 2), lse


def _function() -> Callable[..., Any]:
    name = next((name for name in _MODULES if packages.missing(name, "flash-attn") is None), None)
    if name is None:
        raise ImportError(missing())
    return importlib.import_module(name).flash_attn_func  # type: ignore[no-any-return]
