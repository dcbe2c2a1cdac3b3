"""Dense kernel of xformers, for CUDA GPUs and dtypes that flash kernels do not take (fp32, before Ampere).

It takes [batch, length, heads, head_dim]; its log-sum-exp [batch, heads, length] may be padded along the length.
"""

from __future__ import annotations

import torch

from . import packages


def missing() -> str | None:
    """Why it cannot be called; None where it can."""
    return packages.missing("xformers")


def xformers_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(out [b, h, l, d], lse fp32 [b, h, l]) of tensors [b, h, l, d] on CUDA."""
    from xformers.ops.fmha import memory_efficient_attention_forward_requires_grad as forward

    out, lse = forward(*(x.transpose(1, 2) for x in (query, key, value)), scale=scale)
    return out.transpose(1, 2), lse[:, :, : query.shape[2]]
