"""Block mass: how much softmax mass each key block has, which every search, audit and recall is computed from.

Shapes: b batch, h heads, g key heads, l tokens, n sampled rows, q key blocks. Scores and masses are fp32 whatever the
inputs' dtype: ties in bf16 favour early blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

from .blockmap import block_count, block_sizes
from .kernels.parallel import parallel_for, scratch
from .kernels.triton_support import has_triton

P = ParamSpec("P")
T = TypeVar("T")
_SCORES_AT_ONCE = 1 << 19  # scores at a time on a CPU: they stay in the cache between the product and the sums
_TALLEST = 512  # rows of them: the more, the less often a product packs its keys


def full_precision(measure: Callable[P, T]) -> Callable[P, T]:
    """The function with autocast off on its query's device."""

    @wraps(measure)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        query: Any = args[0] if args else kwargs["query"]
        with torch.autocast(query.device.type, enabled=False):
            return measure(*args, **kwargs)

    return wrapper


@full_precision
@torch.no_grad()
def row_mass(
    query: torch.Tensor,
    key: torch.Tensor,
    rows: torch.Tensor,
    *,
    key_block: int,
    lse: torch.Tensor | None = None,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mass of each key block for the query tokens `rows` (int64 [n]): (fp32 [b, h, n, q], their lse fp32 [b, h, n]).

    Every row sums to 1. lse: of an earlier step [b, h, l] saves a pass; it is not trusted but renormalised by the
    row's sum, which corrects it exactly: lse_now = lse + log(sum).
    """
    measure = _triton if takes_triton(query, key_block) else _torch
    mass, found = measure(query, key, rows, key_block, lse, scale, key_mask)
    if lse is not None and not bool(found.isfinite().all()):
        # a cached lse so far off that its row over- or underflowed
        return measure(query, key, rows, key_block, None, scale, key_mask)
    return mass, found


def takes_triton(query: torch.Tensor, key_block: int) -> bool:
    """Whether the Triton kernel can measure masses here; PyTorch always can."""
    fits = query.dtype in (torch.float16, torch.bfloat16, torch.float32) and query.shape[-1] <= 256 and key_block >= 16
    return query.device.type == "cuda" and has_triton() and fits


def _triton(query, key, rows, key_block, lse, scale, key_mask):  # type: ignore[no-untyped-def]
    from .kernels.triton_blocks import triton_row_mass

    return triton_row_mass(query, key, rows, key_block=key_block, lse=lse, scale=scale, key_mask=key_mask)


def _torch(query, key, rows, key_block, lse, scale, key_mask):  # type: ignore[no-untyped-def]
    b, h, _, d = query.shape
    length, q, groups = key.shape[2], block_count(key.shape[2], key_block), h // key.shape[1]
    picked = query.index_select(2, rows).float() * (d**-0.5 if scale is None else scale)
    cached = None if lse is None else lse.index_select(2, rows).float()
    tall, wide = _tile(len(rows), length, key_block, query.device)
    spans = [slice(at, min(at + wide, length)) for at in range(0, length, wide)]
    mass = torch.empty(b, h, len(rows), q, device=query.device)
    origins = torch.empty(b, h, len(rows), len(spans), device=query.device)

    def work(task: tuple[int, int, slice, int]) -> None:
        i, j, these, number = task
        span = spans[number]
        queries, keys = picked[i, j, these], key[i, j // groups, span].float()
        buffer = scratch("scores", len(queries) * len(keys), queries).view(len(queries), -1)
        scores = torch.mm(queries, keys.mT, out=buffer)
        if key_mask is not None:
            scores.masked_fill_(~key_mask[i, span], -torch.inf)
        origin = scores.amax(-1) if cached is None else cached[i, j, these]
        weights = scores.sub_(origin.masked_fill(origin == -torch.inf, 0)[:, None]).exp_()
        mass[i, j, these, span.start // key_block : -(-span.stop // key_block)] = _block_sums(weights, key_block)
        origins[i, j, these, number] = origin

    starts = range(0, len(rows), tall)
    tasks = [
        (i, j, slice(at, at + tall), n) for i in range(b) for j in range(h) for n in range(len(spans)) for at in starts
    ]
    parallel_for(tasks, work, threads=torch.get_num_threads() if query.device.type == "cpu" else 1)
    origin = origins.amax(-1)
    # each span has its own origin
    mass *= (origins - origin[..., None]).exp_().repeat_interleave(wide // key_block, -1)[..., :q]
    total = mass.sum(-1)
    return mass.div_(total[..., None]), origin + total.log()


def _tile(rows: int, keys: int, key_block: int, device: torch.device) -> tuple[int, int]:
    """(rows, keys) whose scores are computed at once: full key blocks, and on a CPU no more than fit its cache."""
    if device.type != "cpu" or not rows:
        return max(1, rows), -(-keys // key_block) * key_block
    tall = min(rows, _TALLEST)
    return tall, max(1, _SCORES_AT_ONCE // tall // key_block) * key_block


def _block_sums(weights: torch.Tensor, block: int) -> torch.Tensor:
    full = weights.shape[-1] // block * block
    # a product with ones is faster than a sum over so few
    sums = weights[:, :full].unflatten(1, (full // block, block)) @ weights.new_ones(block)
    return sums if full == weights.shape[-1] else torch.cat([sums, weights[:, full:].sum(-1, keepdim=True)], 1)


def block_mass(
    query: torch.Tensor,
    key: torch.Tensor,
    *,
    query_block: int,
    key_block: int,
    lse: torch.Tensor | None = None,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mass of every tile, summed over all rows of its query block: (fp32 [b, h, p, q], lse fp32 [b, h, l]).

    AdaSpa's second pass (arXiv 2502.21079, section 4.2); W[p, q] over all q sums to the rows of block p.
    """
    b, h, length, _ = query.shape
    p, q = block_count(length, query_block), block_count(key.shape[2], key_block)
    total = torch.empty(b, h, p, q, device=query.device)
    found = torch.empty(b, h, length, device=query.device)
    step = query_block * max(1, 256 // query_block)
    for at in range(0, length, step):
        rows = torch.arange(at, min(length, at + step), device=query.device)
        mass, row_lse = row_mass(query, key, rows, key_block=key_block, lse=lse, scale=scale, key_mask=key_mask)
        found[:, :, rows] = row_lse
        first = at // query_block
        count = block_count(len(rows), query_block)
        padded = torch.nn.functional.pad(mass, (0, 0, 0, count * query_block - len(rows)))
        total[:, :, first : first + count] = padded.unflatten(2, (count, query_block)).sum(3)
    return total, found


def sample_rows(length: int, block: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` random query tokens of every block, int64 [p, count]: distinct, but for a last block of fewer tokens.

    Random, not every k-th: a stride hits the same face of every 4x4x4 tile.
    """
    order = torch.rand(block_count(length, block), block, generator=generator).argsort(-1)
    starts = torch.arange(0, length, block)
    sizes = block_sizes(length, block)
    if length % block:
        tail = torch.rand(length % block, generator=generator).argsort()
        order[-1] = tail.repeat(-(-block // len(tail)))[:block]
    return starts[:, None] + torch.minimum(order[:, :count], sizes[:, None] - 1)
