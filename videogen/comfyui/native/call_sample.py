"""Sample of one call of attention: rows of a few heads of one clip, with which a kernel's result is compared.

The error that a dtype may have is that of `videogen.attention.kernels.validation`. Kernels that quantize exceed it by
design; their error is of some percent, and the same in all rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from videogen.attention.kernels.validation import Call, compute_rows, find_fault, sample_query_rows

_HEADS = 2
#: relative error up to which a kernel counts as of low precision: of all rows, and of one
_IMPRECISE, _IMPRECISE_ROW = 0.15, 0.6


@dataclass(frozen=True)
class Verdict:
    """error: of the sampled rows, relative to the reference; why: what is wrong, empty where nothing is."""

    error: float
    why: str = ""
    is_imprecise: bool = False


@dataclass(frozen=True)
class CallSample:
    """call: the sampled part of a call; clip: its place in the batch; heads: their numbers; rows: of the queries."""

    call: Call
    clip: int
    heads: torch.Tensor
    rows: torch.Tensor

    @classmethod
    def draw(cls, call: Call, number: int) -> CallSample:
        """number: of the call, by which clip, heads and rows vary, so that the layers of a model cover them."""
        batch, count = call.query.shape[:2]
        heads = torch.tensor(sorted({(number + part * count // _HEADS) % count for part in range(_HEADS)}))
        groups = count // call.key.shape[1]
        rows = sample_query_rows(call.query.shape[2], seed=number)
        clip = number % batch
        return cls(_choose(call, clip, heads, groups), clip, heads, rows)

    def compare(self, out: torch.Tensor) -> Verdict:
        """The verdict on a result [b, h, l, d] of all heads."""
        chosen = out[self.clip : self.clip + 1].index_select(1, self.heads.to(out.device)).to(self.call.query.dtype)
        fault = find_fault(self.call, chosen, rows=self.rows)
        if tuple(chosen.shape[:3]) != tuple(self.call.query.shape[:3]):
            return Verdict(torch.inf, str(fault))
        by_row, error = self._errors(self.call, chosen)
        if fault is None:
            return Verdict(error)
        cause = self._find_cause(chosen, error)
        if not cause and error <= _IMPRECISE and by_row <= _IMPRECISE_ROW:
            return Verdict(error, str(fault), is_imprecise=True)
        where = f"in heads {self.heads.tolist()} of clip {self.clip}"
        if error == torch.inf:
            return Verdict(error, f"NaN or Inf {where}")
        dtype = str(self.call.query.dtype).removeprefix("torch.")
        why = cause or f"it differs by more than {dtype} may"
        return Verdict(error, f"{why}, with a relative error of {error:.2g} {where}")

    def _find_cause(self, out: torch.Tensor, error: float) -> str:
        """What the kernel leaves out, if the result is closer to a reference without it."""
        others = {}
        if self.call.mask is not None:
            others["mask"] = replace(self.call, mask=None)
        if self.call.scale is not None:
            others["scale"] = replace(self.call, scale=None)
        for name, call in others.items():
            _, without = self._errors(call, out)
            if without < error / 2:
                return f"it ignores the {name}"
        return ""

    def _errors(self, call: Call, out: torch.Tensor) -> tuple[float, float]:
        """Relative error of the worst row, and of all rows. Rows that see no key are left out."""
        rows = self.rows.to(out.device)
        expected = compute_rows(call, rows)[0].float()
        visible = expected.isfinite().all(-1, keepdim=True)
        difference = torch.where(visible, out.index_select(2, rows).float() - expected, 0.0)
        expected = torch.where(visible, expected, 0.0)
        lengths = expected.norm(dim=-1)
        by_row = difference.norm(dim=-1) / lengths.clamp(min=float(lengths.mean()) / 10 + 1e-12)
        return _number(by_row.max()), _number(difference.norm() / expected.norm().clamp(min=1e-12))


def _choose(call: Call, clip: int, heads: torch.Tensor, groups: int) -> Call:
    query, key, value = (
        x[clip : clip + 1].index_select(1, (heads // size).to(x.device))
        for x, size in ((call.query, 1), (call.key, groups), (call.value, groups))
    )
    mask = call.mask
    if mask is not None and mask.shape[0] > 1:
        mask = mask[clip : clip + 1]
    if mask is not None and mask.shape[1] > 1:
        mask = mask.index_select(1, heads.to(mask.device))
    return Call(query, key, value, mask, scale=call.scale)


def _number(value: torch.Tensor) -> float:
    return float(value.nan_to_num(torch.inf, posinf=torch.inf))
