"""Block-sparse attention and block masses in Triton, for CUDA; in Triton's interpreter also on a CPU, which the tests
use.

Scores, sums and accumulators are fp32; exponentials are base 2 inside, every log-sum-exp outside is natural. Any head
dim up to 256 (padded in registers to a power of two), any length, strided [b, l, h, d] storage without a copy, GQA.
Online softmax and tiling: FlashAttention-2 (arXiv 2307.08691); masses from a cached lse: AdaSpa (arXiv 2502.21079).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from videogen.attention.blockmap import BlockMap, block_count

_LOG2E = tl.constexpr(1.4426950408889634)
_LN2 = tl.constexpr(0.6931471805599453)
_TILE = 128


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    Q, K, V, Columns, Counts, Valid, Out, Lse,
    sq_b, sq_h, sq_l, sk_b, sk_h, sk_l, sv_b, sv_h, sv_l, so_b, so_h, so_l, sm_b,
    heads, groups, query_length, key_length, rows, width, scale,
    HAS_MASK: tl.constexpr, M: tl.constexpr, PARTS: tl.constexpr, N: tl.constexpr, TILES: tl.constexpr,
    D: tl.constexpr, D_PAD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of M query rows of one head. A query block is PARTS of them, a key block TILES tiles of N keys."""
    part = tl.program_id(0)
    b, h = tl.program_id(1) // heads, tl.program_id(1) % heads
    g = h // groups
    row = part // PARTS
    offs_m = part * M + tl.arange(0, M)
    offs_d = tl.arange(0, D_PAD)
    in_dim = offs_d < D
    q = tl.load(
        Q + b.to(tl.int64) * sq_b + h * sq_h + offs_m[:, None].to(tl.int64) * sq_l + offs_d[None, :],
        mask=(offs_m < query_length)[:, None] & in_dim[None, :], other=0.0,
    )  # fmt: skip
    where = (b * heads + h).to(tl.int64) * rows + row
    count = tl.load(Counts + where)
    peak = tl.full([M], -float("inf"), tl.float32)
    total = tl.zeros([M], tl.float32)
    acc = tl.zeros([M, D_PAD], tl.float32)
    for i in range(count):
        column = tl.load(Columns + where * width + i).to(tl.int32)
        for tile in tl.static_range(TILES):
            offs_n = (column * TILES + tile) * N + tl.arange(0, N)
            in_keys = offs_n < key_length
            ok = in_keys[:, None] & in_dim[None, :]
            offs = offs_n[:, None].to(tl.int64)
            k = tl.load(K + b.to(tl.int64) * sk_b + g * sk_h + offs * sk_l + offs_d[None, :], mask=ok, other=0.0)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * _LOG2E)
            if HAS_MASK:
                in_keys = in_keys & (tl.load(Valid + b.to(tl.int64) * sm_b + offs_n, mask=in_keys, other=0) != 0)
            scores = tl.where(in_keys[None, :], scores, -float("inf"))
            new_peak = tl.maximum(peak, tl.max(scores, 1))
            origin = tl.where(new_peak == -float("inf"), 0.0, new_peak)
            weights = tl.exp2(scores - origin[:, None])
            shrink = tl.exp2(peak - origin)
            total = total * shrink + tl.sum(weights, 1)
            v = tl.load(V + b.to(tl.int64) * sv_b + g * sv_h + offs * sv_l + offs_d[None, :], mask=ok, other=0.0)
            acc = acc * shrink[:, None] + tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
            peak = new_peak
    inside = offs_m < query_length
    tl.store(
        Out + b.to(tl.int64) * so_b + h * so_h + offs_m[:, None].to(tl.int64) * so_l + offs_d[None, :],
        (acc / total[:, None]).to(Out.dtype.element_ty), mask=inside[:, None] & in_dim[None, :],
    )  # fmt: skip
    tl.store(Lse + (b * heads + h).to(tl.int64) * query_length + offs_m, (peak + tl.log2(total)) * _LN2, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _row_mass(  # type: ignore[no-untyped-def]
    Q, K, Rows, Cached, Valid, Out,
    sq_b, sq_h, sq_l, sk_b, sk_h, sk_l, sc_b, sc_h, sm_b,
    heads, groups, count, key_length, blocks, scale,
    HAS_LSE: tl.constexpr, HAS_MASK: tl.constexpr, M: tl.constexpr, N: tl.constexpr, TILES: tl.constexpr,
    D: tl.constexpr, D_PAD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """log of each key block's weight sum, for M of the query tokens listed in Rows: [b, h, n, q], natural logarithm."""
    b, h = tl.program_id(1) // heads, tl.program_id(1) % heads
    g = h // groups
    offs_m = tl.program_id(0) * M + tl.arange(0, M)
    inside = offs_m < count
    tokens = tl.load(Rows + offs_m, mask=inside, other=0)
    offs_d = tl.arange(0, D_PAD)
    in_dim = offs_d < D
    q = tl.load(
        Q + b.to(tl.int64) * sq_b + h * sq_h + tokens[:, None].to(tl.int64) * sq_l + offs_d[None, :],
        mask=inside[:, None] & in_dim[None, :], other=0.0,
    )  # fmt: skip
    fixed = tl.zeros([M], tl.float32)
    if HAS_LSE:
        fixed = tl.load(Cached + b.to(tl.int64) * sc_b + h * sc_h + tokens, mask=inside, other=0.0) * _LOG2E
    out = Out + ((b * heads + h).to(tl.int64) * count + offs_m) * blocks
    for column in range(blocks):
        peak = tl.full([M], -float("inf"), tl.float32)
        total = tl.zeros([M], tl.float32)
        for tile in tl.static_range(TILES):
            offs_n = (column * TILES + tile) * N + tl.arange(0, N)
            in_keys = offs_n < key_length
            k = tl.load(
                K + b.to(tl.int64) * sk_b + g * sk_h + offs_n[:, None].to(tl.int64) * sk_l + offs_d[None, :],
                mask=in_keys[:, None] & in_dim[None, :], other=0.0,
            )  # fmt: skip
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (scale * _LOG2E)
            if HAS_MASK:
                in_keys = in_keys & (tl.load(Valid + b.to(tl.int64) * sm_b + offs_n, mask=in_keys, other=0) != 0)
            scores = tl.where(in_keys[None, :], scores, -float("inf"))
            if HAS_LSE:
                total += tl.sum(tl.exp2(scores - fixed[:, None]), 1)
            else:
                new_peak = tl.maximum(peak, tl.max(scores, 1))
                origin = tl.where(new_peak == -float("inf"), 0.0, new_peak)
                total = total * tl.exp2(peak - origin) + tl.sum(tl.exp2(scores - origin[:, None]), 1)
                peak = new_peak
        if HAS_LSE:
            peak = fixed
        tl.store(out + column, tl.where(total > 0, (peak + tl.log2(total)) * _LN2, -float("inf")), mask=inside)


def triton_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    block_map: BlockMap,
    *,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention within the map: (out [b, h, l, d], lse fp32 [b, h, l])."""
    query, key, value = (_unit_stride(x) for x in (query, key, value))
    b, h, length, d = query.shape
    rows, _ = block_map.shape
    tile_m, tile_n = min(_TILE, block_map.query_block), min(_TILE, block_map.key_block)
    parts = block_map.query_block // tile_m
    out = torch.empty(b, length, h, d, dtype=query.dtype, device=query.device).transpose(1, 2)
    lse = torch.empty(b, h, length, dtype=torch.float32, device=query.device)
    mask = lse if key_mask is None else key_mask.to(torch.uint8).contiguous()
    _forward[(block_count(length, tile_m), b * h)](
        query, key, value, block_map.columns, block_map.counts, mask, out, lse,
        *query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *out.stride()[:3], mask.stride(0),
        h, h // key.shape[1], length, key.shape[2], rows, block_map.columns.shape[-1],
        d**-0.5 if scale is None else scale,
        HAS_MASK=key_mask is not None, M=tile_m, PARTS=parts, N=tile_n, TILES=block_map.key_block // tile_n,
        D=d, D_PAD=max(16, triton.next_power_of_2(d)), PRECISION=_precision(query), num_warps=4 if d <= 64 else 8,
    )  # fmt: skip
    return out, lse


def triton_row_mass(
    query: torch.Tensor,
    key: torch.Tensor,
    rows: torch.Tensor,
    *,
    key_block: int,
    lse: torch.Tensor | None = None,
    scale: float | None = None,
    key_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `attention.mass.row_mass`: (mass [b, h, n, q], lse [b, h, n]), both fp32."""
    query, key = _unit_stride(query), _unit_stride(key)
    b, h, _, d = query.shape
    blocks = block_count(key.shape[2], key_block)
    tile_n = min(_TILE, key_block)
    logs = torch.empty(b, h, len(rows), blocks, dtype=torch.float32, device=query.device)
    cached = logs if lse is None else lse.float().contiguous()
    mask = logs if key_mask is None else key_mask.to(torch.uint8).contiguous()
    tile_m = 64
    _row_mass[(block_count(len(rows), tile_m), b * h)](
        query, key, rows, cached, mask, logs,
        *query.stride()[:3], *key.stride()[:3], *cached.stride()[:2], mask.stride(0),
        h, h // key.shape[1], len(rows), key.shape[2], blocks, d**-0.5 if scale is None else scale,
        HAS_LSE=lse is not None, HAS_MASK=key_mask is not None, M=tile_m, N=tile_n, TILES=key_block // tile_n,
        D=d, D_PAD=max(16, triton.next_power_of_2(d)), PRECISION=_precision(query), num_warps=4,
    )  # fmt: skip
    found = logs.logsumexp(-1)
    return (logs - found.unsqueeze(-1)).exp_(), found


def _unit_stride(x: torch.Tensor) -> torch.Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _precision(x: torch.Tensor) -> str:
    return "ieee" if x.dtype == torch.float32 else "tf32"
