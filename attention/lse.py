"""Log-sum-exp algebra: partial attentions over disjoint keys combine exactly.

out = sum_j exp(s_j) v_j / sum_j exp(s_j) with s = scale * q.k; lse = log sum_j exp(s_j), natural logarithm.
"""

from __future__ import annotations

import torch


def merge(
    out: torch.Tensor, lse: torch.Tensor, other_out: torch.Tensor, other_lse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over the union of two disjoint sets of keys: (out [b, h, l, d], lse [b, h, l]) of both, from
    those of each.

    Associative and commutative to rounding; fp32 inside, `out`'s dtype outside. A part with lse = -inf (no keys) adds
    nothing.
    """
    total = torch.logaddexp(lse.float(), other_lse.float())
    finite = torch.where(total == -torch.inf, torch.zeros_like(total), total)
    weight, other_weight = ((part.float() - finite).exp().unsqueeze(-1) for part in (lse, other_lse))
    merged = _weighted(weight, out) + _weighted(other_weight, other_out)
    return merged.to(out.dtype), total


def _weighted(weight: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """0 where the weight is 0, also of a NaN: an attention over no keys."""
    return torch.where(weight == 0, torch.zeros_like(weight), weight * out.float())


def error_bound(recall: torch.Tensor, value_norm: torch.Tensor, sparse_norm: torch.Tensor) -> torch.Tensor:
    """The hard bound on |o - o_S| of a row that retains `recall` of its mass: (1 - recall)(max |v| + |o_S|).

    From o - o_S = (1 - recall)(o_dropped - o_S), as o_dropped is a mean of values. Any shapes that broadcast.
    """
    return (1 - recall) * (value_norm + sparse_norm)
