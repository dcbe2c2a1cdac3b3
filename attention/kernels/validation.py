"""Validation of attention kernels: sampled query rows of a call against the same rows in higher precision.

A kernel that imports and runs may still be wrong for one head size, one dtype or beyond some length, and what it gives
is often finite: the video is noise, and nothing says so. Here sampled rows are computed again from the call's own
inputs, in fp32, and what the kernel may differ by follows from its dtype: twice the error of
plain attention in that dtype, as FlashAttention's own tests allow, and the rounding of scores and result. All tensors
are only read.

Legend: b batch, h query heads, g key heads, l queries, k keys, n sampled rows, d head dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from videogen.attention.blockmap import BlockMap

#: Rows that are drawn at random from equal parts of the sequence, besides those at its ends and at the edges of tiles.
RANDOM_ROWS = 8
_EDGES = (64, 128)  # query rows per tile of the usual kernels
_SCRATCH_BYTES = 64 << 20  # of one batch of heads in higher precision
#: Of kernels that quantize scores, such as SageAttention: relative precision of their products.
QUANTIZED = 2.0**-5


@dataclass(frozen=True)
class Call:
    """One call of attention: query [b, h, l, d], key, value [b, g, k, d], in their order; out [b, h, l, dv].

    mask: as of `scaled_dot_product_attention`, bool or additive, broadcast to [b, h, l, k]; block_map: the key blocks
    that each query block attends to; None: all. scale: None for d ** -0.5.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None = None
    causal: bool = False
    scale: float | None = None
    block_map: BlockMap | None = None

    @property
    def factor(self) -> float:
        return self.query.shape[-1] ** -0.5 if self.scale is None else self.scale


@dataclass(frozen=True)
class Fault:
    """What is wrong with a kernel's result. error: of the worst row, relative to what is allowed, which is 1."""

    why: str
    error: float

    def __str__(self) -> str:
        return self.why


#: by which a row may exceed the allowed error: sums in another order reach 1.02 on small heads, faults 10 and more
_MARGIN = 4.0


def sample_query_rows(length: int, seed: int = 0, count: int = RANDOM_ROWS) -> torch.Tensor:
    """Rows to check, int64 ascending: the ends, both sides of the last edge of each usual tile, and one random row of
    each of `count` equal parts."""
    chosen = {0, length // 2, length - 1}
    for tile in _EDGES:
        edge = (length - 1) // tile * tile
        chosen |= {edge, max(0, edge - 1)}
    generator = torch.Generator().manual_seed(seed)
    parts = min(count, length)
    starts = torch.arange(parts) * length // parts
    widths = torch.arange(1, parts + 1) * length // parts - starts
    chosen |= set((starts + (torch.rand(parts, generator=generator) * widths).long()).tolist())
    return torch.tensor(sorted(chosen))


def find_fault(
    call: Call,
    out: torch.Tensor,
    lse: torch.Tensor | None = None,
    *,
    rows: torch.Tensor | None = None,
    precision: float = 0.0,
) -> Fault | None:
    """What is wrong with a kernel's result; None where nothing is.

    out [b, h, l, dv]; lse [b, h, l], natural logarithm, where the kernel gives one. rows: to compare; None:
    `sample_query_rows`. precision: of products within the kernel, if it is lower than that of its dtype. Rows that see
    no key, or that are not finite in the reference, are not compared; for the latter see `find_non_finite`.
    """
    expected = (*call.query.shape[:3], call.value.shape[-1])
    if tuple(out.shape) != expected:
        return Fault(f"the result is {list(out.shape)} instead of {list(expected)}", torch.inf)
    if out.dtype != call.query.dtype:
        return Fault(f"the result is {out.dtype} instead of {call.query.dtype}", torch.inf)
    rows = (sample_query_rows(out.shape[2]) if rows is None else rows).to(out.device)
    size, faults = _heads_at_once(call, len(rows)), []
    for b in range(out.shape[0]):
        for start in range(0, out.shape[1], size):
            heads = slice(start, min(start + size, out.shape[1]))
            faults.append(_fault_of_heads(call, out, lse, rows, b, heads, precision))
    found = [fault for fault in faults if fault is not None]
    if found:
        return max(found, key=lambda fault: fault.error)
    return None if _is_finite(call, out) else Fault("rows that were not sampled are NaN or Inf", torch.inf)


def find_non_finite(call: Call) -> list[str]:
    """Which of `query`, `key`, `value` have NaN or Inf that reach a row of the result; none where all are finite, or
    where what is not is hidden by the mask, such as padding.

    Some kernels give finite results for them, since their maxima skip NaN.
    """
    inputs = {"query": call.query, "key": call.key, "value": call.value}
    names = [name for name, x in inputs.items() if not _all_finite(x)]
    if not names:
        return []
    length = call.query.shape[2]
    wrong = (~call.query.isfinite()).any(-1).flatten(0, 1).any(0).nonzero().flatten()[:RANDOM_ROWS]
    rows = torch.cat([sample_query_rows(length).to(wrong.device), wrong]).unique()
    for b in range(call.query.shape[0]):
        for h in range(call.query.shape[1]):
            reference = _Reference.of_rows(call, rows, b, slice(h, h + 1))
            if bool((reference.sees_key & ~reference.expected.isfinite().all(-1)).any()):
                return names
    return []


def _all_finite(x: torch.Tensor) -> bool:
    least, most = x.detach().aminmax()  # in one pass, and NaN if any is
    return bool(least.isfinite() & most.isfinite())


def _fault_of_heads(
    call: Call, out: torch.Tensor, lse: torch.Tensor | None, rows: torch.Tensor, b: int, heads: slice, precision: float
) -> Fault | None:
    """The worst fault of these heads in one sample of the batch."""
    reference = _Reference.of_rows(call, rows, b, heads)
    error = out[b, heads].index_select(1, rows).to(reference.expected.dtype) - reference.expected
    product = max(_product_unit(out), precision) * _largest_product(call, rows, b, heads)
    excess = (error.norm(dim=-1) / reference.allowed(out.dtype, product, precision)).nan_to_num(
        torch.inf, posinf=torch.inf
    )
    if lse is not None:
        excess = torch.maximum(excess, reference.excess_of_lse(lse[b, heads].index_select(1, rows), product))
    excess = torch.where(reference.comparable, excess, torch.zeros_like(excess))
    worst = float(excess.max())
    if not worst > _MARGIN:
        return None
    head, index = divmod(int(excess.argmax()), excess.shape[1])
    where = f"batch {b}, head {heads.start + head}, row {int(rows[index])} of {out.shape[2]}"
    if worst == torch.inf:
        return Fault(f"NaN or Inf at {where}", worst)
    return Fault(f"{worst:.3g} times the error that {_name(out.dtype)} may have, at {where}", worst)


def compute_rows(call: Call, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a call by plain arithmetic in fp32 (fp64 for fp64 inputs): (out [b, h, n, dv] as the query's dtype, lse
    [b, h, n])."""
    outs, sums = [], []
    for b in range(call.query.shape[0]):
        for h in range(call.query.shape[1]):
            reference = _Reference.of_rows(call, rows, b, slice(h, h + 1))
            outs.append(reference.expected[0])
            sums.append(reference.total[0, :, 0])
    out, lse = (torch.stack(parts).unflatten(0, call.query.shape[:2]) for parts in (outs, sums))
    return out.to(call.query.dtype), lse


def reference_attention(call: Call) -> tuple[torch.Tensor, torch.Tensor]:
    """All rows of `compute_rows`, a limited number at a time: slow, and correct on every device."""
    rows = torch.arange(call.query.shape[2], device=call.query.device)
    parts = [compute_rows(call, part) for part in rows.split(max(1, _SCRATCH_BYTES // (8 * call.key.shape[2])))]
    out, lse = (torch.cat(side, 2) for side in zip(*parts, strict=True))
    return out, lse


@dataclass(frozen=True)
class _Reference:
    """Sampled rows of one sample's heads, in higher precision: value [heads, k, dv], total (the log-sum-exp)
    [heads, n, 1], weights [heads, n, k], expected [heads, n, dv]."""

    value: torch.Tensor
    total: torch.Tensor
    weights: torch.Tensor
    expected: torch.Tensor

    @classmethod
    def of_rows(cls, call: Call, rows: torch.Tensor, b: int, heads: slice) -> _Reference:
        wide = torch.float64 if call.query.dtype == torch.float64 else torch.float32
        scores = _scores(call, rows, b, heads, wide)
        value = _of_heads(call, call.value, b, heads).to(wide)
        total = scores.logsumexp(-1, keepdim=True)
        weights = (scores - torch.where(total != -torch.inf, total, 0.0)).exp()
        return cls(value, total, weights, weights @ value)

    @property
    def comparable(self) -> torch.Tensor:
        """Rows that see a key and are finite, bool [heads, n]."""
        return self.sees_key & self.expected.isfinite().all(-1)

    @property
    def sees_key(self) -> torch.Tensor:
        """Rows of which not all keys are hidden, bool [heads, n]."""
        return (self.total != -torch.inf).squeeze(-1)

    def allowed(self, dtype: torch.dtype, product: torch.Tensor, precision: float) -> torch.Tensor:
        """The error that a row may have, [heads, n]: twice that of plain attention in the dtype, the rounding of the
        result and of the weights, and that of the scores. product: the error of a row's scores, [heads, n]."""
        wide, unit = self.expected.dtype, max(_unit(dtype), precision)
        lengths = torch.linalg.vector_norm(self.value, dim=-1).unsqueeze(-1)
        spread = torch.linalg.vector_norm(self.weights * lengths.mT, dim=-1)
        allowed = (unit + product) * (self.expected.norm(dim=-1) + 2 * spread)
        if dtype != wide:
            plain = (self.weights.to(dtype).to(wide) @ self.value).to(dtype).to(wide)
            allowed += 2 * (plain - self.expected).norm(dim=-1)
        return allowed + unit * torch.finfo(dtype).tiny ** 0.5  # of values that round to zero

    def excess_of_lse(self, lse: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
        """The error of a log-sum-exp [heads, n] as a multiple of what is allowed."""
        expected = self.total.squeeze(-1)
        allowed = 16 * product + 512 * torch.finfo(torch.float32).eps * (1 + expected.abs())
        return ((lse.to(expected.dtype) - expected).abs() / allowed).nan_to_num(torch.inf, posinf=torch.inf)


def _scores(call: Call, rows: torch.Tensor, b: int, heads: slice, wide: torch.dtype) -> torch.Tensor:
    """Scores of the rows, [heads, n, k], -inf where a key is hidden."""
    query = call.query[b, heads].index_select(1, rows).to(wide)
    scores = query @ _of_heads(call, call.key, b, heads).to(wide).mT * call.factor
    keys = call.key.shape[2]
    if call.mask is not None:
        full = call.mask.expand(*call.query.shape[:3], keys) if call.mask.ndim <= 4 else call.mask
        part = full[b, heads].index_select(1, rows)
        hidden = ~part if part.dtype == torch.bool else part == -torch.inf
        scores = scores if part.dtype == torch.bool else scores + part.to(wide)
        scores = scores.masked_fill(hidden, -torch.inf)  # also those that are NaN
    if call.causal:
        hidden = torch.arange(keys, device=rows.device) > rows[:, None]
        scores = scores.masked_fill(hidden, -torch.inf)
    if call.block_map is not None:
        scores = scores.masked_fill(~_attended(call.block_map, rows, b, heads), -torch.inf)
    return scores


def _attended(block_map: BlockMap, rows: torch.Tensor, b: int, heads: slice) -> torch.Tensor:
    """Whether each key is attended to, bool [heads, n, k]."""
    row_blocks = (rows // block_map.query_block).expand(*block_map.counts.shape[:2], -1)
    blocks = block_map.attended(row_blocks)[b, heads]
    return blocks.repeat_interleave(block_map.key_block, -1)[..., : block_map.key_length]


def _of_heads(call: Call, x: torch.Tensor, b: int, heads: slice) -> torch.Tensor:
    """Keys or values of these query heads, [heads, k, d]."""
    groups = call.query.shape[1] // x.shape[1]
    if groups == 1:
        return x[b, heads]
    return x[b].index_select(0, torch.arange(heads.start, heads.stop, device=x.device) // groups)


def _largest_product(call: Call, rows: torch.Tensor, b: int, heads: slice) -> torch.Tensor:
    """A bound of sum |q k| * scale over all keys, of each row, [heads, n]."""
    query = torch.linalg.vector_norm(call.query[b, heads].index_select(1, rows), dim=-1, dtype=torch.float32)
    key = torch.linalg.vector_norm(_of_heads(call, call.key, b, heads), dim=-1, dtype=torch.float32)
    key = key.amax(-1, keepdim=True)
    return query * key * abs(call.factor)


def _product_unit(out: torch.Tensor) -> float:
    """Relative error of a product in a kernel."""
    if out.device.type == "cuda" and out.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        return 2.0**-11
    return 4 * torch.finfo(torch.float64 if out.dtype == torch.float64 else torch.float32).eps


def _unit(dtype: torch.dtype) -> float:
    """Rounding of a result: half a unit in the last place of half precision; sums in fp32 round at every step."""
    eps = torch.finfo(dtype).eps
    return 16 * eps if dtype in (torch.float32, torch.float64) else eps / 2


def _heads_at_once(call: Call, rows: int) -> int:
    """Query heads whose keys, values and scores in higher precision fit the scratch memory."""
    per_head = 4 * call.key.shape[2] * (2 * call.key.shape[-1] + 3 * rows)
    return max(1, _SCRATCH_BYTES // per_head)


def _is_finite(call: Call, out: torch.Tensor) -> bool:
    """Whether rows that were not sampled are finite, where inputs allow to say so: masks may hide all keys of a row."""
    if call.mask is not None or bool(out.isfinite().all()):
        return True
    return not all(bool(x.isfinite().all()) for x in (call.query, call.key, call.value))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
