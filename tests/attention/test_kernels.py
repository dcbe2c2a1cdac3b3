"""Every kernel against plain attention in fp64: lengths, blocks, head dims, GQA, padding, dtypes, as one table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.attention.test_block_maps import random_map
from videogen import InputError, UnsupportedError
from videogen.attention import (
    BlockMap,
    Forced,
    SparseAttention,
    block_mass,
    error_bound,
    merge,
    row_mass,
    sparse_attention,
)
from videogen.attention.kernels import dense
from videogen.attention.kernels.dense import attention_with_lse
from videogen.attention.kernels.flex_blocks import flex_attention
from videogen.attention.kernels.table import KERNELS, Case, Kernel, backend_names, choose, reasons
from videogen.attention.policies.base import AttentionCall, build_policy

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """A case: blocks, tokens, heads and key heads, head dim, padding."""

    name: str
    query_block: int = 64
    key_block: int = 64
    length: int | tuple[int, int] = 320
    heads: int = 4
    key_heads: int = 4
    dim: int = 32
    padding: bool = False
    density: float = 0.4


ROWS = [
    Row("full blocks"),
    Row("ragged last blocks", length=300),
    Row("shorter than a block", length=40),
    Row("large query blocks", query_block=256, length=600),
    Row("small key blocks", key_block=16, length=200),
    Row("large key blocks", key_block=256, length=600),
    Row("grouped heads", key_heads=2, length=300),
    Row("one key head", key_heads=1),
    Row("head dim 72", dim=72, length=200),
    Row("head dim 128", dim=128, length=200),
    Row("head dim 256", dim=256, length=150),
    Row("padded keys", padding=True, length=300),
    Row("padded keys, grouped heads", padding=True, key_heads=2),
    Row("more keys than queries", length=(130, 500)),
    Row("everything", density=1.1, length=300),
]


def inputs(
    row: Row, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Strided as models give them: [b, l, h, d] transposed."""
    generator = torch.Generator().manual_seed(0)
    lq, lk = row.length if isinstance(row.length, tuple) else (row.length, row.length)
    shapes = ((2, lq, row.heads, row.dim), (2, lk, row.key_heads, row.dim), (2, lk, row.key_heads, row.dim))
    q, k, v = (torch.randn(s, generator=generator).to(dtype).transpose(1, 2) for s in shapes)
    mask = None
    if row.padding:
        mask = torch.rand(2, lk, generator=generator) < 0.8
        mask[:, ::16] = True  # no block without a key
    return q, k, v, mask


def expected(row: Row, q, k, v, mask, block_map) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[no-untyped-def]
    """(out, lse) in fp64 under the expanded mask."""
    groups = row.heads // row.key_heads
    k, v = k.double().repeat_interleave(groups, 1), v.double().repeat_interleave(groups, 1)
    allowed = block_map.expand() if mask is None else block_map.expand() & mask[:, None, None]
    scores = (q.double() @ k.mT * row.dim**-0.5).masked_fill(~allowed, -torch.inf)
    return scores.softmax(-1) @ v, scores.logsumexp(-1)


def map_of(row: Row) -> BlockMap:
    return random_map(row.query_block, row.key_block, row.length, row.density, row.heads)


Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


def refuses(kernel: Kernel, qkv: Tensors, block_map: BlockMap, mask: torch.Tensor | None) -> bool:
    """Whether the kernel cannot take a call, which then names the reason. The last row can take every call."""
    reason = kernel.refuses(Case.from_tensors(qkv[0], qkv[2], block_map, mask))
    if reason is not None:
        assert kernel is not KERNELS[-1]
        with pytest.raises(UnsupportedError, match=re.escape(reason)):
            sparse_attention(*qkv, block_map, key_mask=mask, backend=kernel.name)
    return reason is not None


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
@each_kernel
def test_a_kernel_is_exact_or_names_why_it_cannot_take_the_call(kernel: Kernel, row: Row) -> None:
    q, k, v, mask = inputs(row)
    block_map = map_of(row)
    if refuses(kernel, (q, k, v), block_map, mask):
        return
    out, lse = sparse_attention(q, k, v, block_map, key_mask=mask, return_lse=True, backend=kernel.name)
    reference, reference_lse = expected(row, q, k, v, mask, block_map)
    assert (out - reference).abs().max() < 1e-5 and (lse - reference_lse).abs().max() < 1e-5


@pytest.mark.parametrize("row", [r for r in ROWS if not r.padding], ids=lambda r: r.name)
@each_kernel
def test_bf16_errs_no_more_than_twice_what_sdpa_does(kernel: Kernel, row: Row) -> None:
    q, k, v, _ = inputs(row, torch.bfloat16)
    block_map = map_of(row)
    if refuses(kernel, (q, k, v), block_map, None):
        return
    out = sparse_attention(q, k, v, block_map, backend=kernel.name)
    reference, _ = expected(row, q, k, v, None, block_map)
    sdpa = F.scaled_dot_product_attention(q, k, v, attn_mask=block_map.expand(), enable_gqa=True)
    assert (out - reference).abs().max() <= 2 * (sdpa - reference).abs().max() + 1e-4


@pytest.mark.parametrize("row", [r for r in ROWS if min(r.query_block, r.key_block) >= 64], ids=lambda r: r.name)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_kernel_is_exact(row: Row) -> None:
    """Uncompiled: the same mask and lists, without a GPU."""
    q, k, v, mask = inputs(row)
    block_map = map_of(row)
    out, lse = flex_attention(q, k, v, block_map, key_mask=mask, compiled=False)
    reference, reference_lse = expected(row, q, k, v, mask, block_map)
    assert (out - reference).abs().max() < 1e-5 and (lse - reference_lse).abs().max() < 1e-5


QUICK_TRITON_ROWS = ("ragged last blocks", "small key blocks", "head dim 72", "padded keys, grouped heads")


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([n for n, row in enumerate(ROWS) if row.name in QUICK_TRITON_ROWS], id="core"),
        pytest.param(list(range(len(ROWS))), id="all", marks=pytest.mark.slow),
    ],
)
def test_triton_kernels_are_exact_in_the_interpreter(rows: list[int]) -> None:
    """In a separate process: the interpreter is chosen when the kernels are imported."""
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.attention.triton_cases", *map(str, rows)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout.count("ok") == len(rows) * 2 >= 8


def test_density_one_equals_sdpa() -> None:
    q, k, v, _ = inputs(Row("", length=300))
    full = BlockMap.full(2, 4, query_block=64, key_block=64, length=300)
    assert full.density == 1.0
    assert (
        sparse_attention(q, k, v, full, backend="torch") - F.scaled_dot_product_attention(q, k, v)
    ).abs().max() < 1e-6


@each_kernel
def test_scale_is_respected(kernel: Kernel) -> None:
    q, k, v, _ = inputs(Row("", length=200))
    full = BlockMap.full(2, 4, query_block=64, key_block=64, length=200)
    if refuses(kernel, (q, k, v), full, None):
        return
    out = sparse_attention(q, k, v, full, scale=0.3, backend=kernel.name)
    tolerance = 1e-6 if kernel.name == "torch" else 1e-5
    assert (out - F.scaled_dot_product_attention(q, k, v, scale=0.3)).abs().max() < tolerance


def test_parts_merge_exactly_in_any_order() -> None:
    q, k, v, _ = inputs(Row("", length=300))
    parts = [
        attention_with_lse(q, k[:, :, part], v[:, :, part]) for part in (slice(0, 90), slice(90, 100), slice(100, 300))
    ]
    left = merge(*merge(*parts[0], *parts[1]), *parts[2])
    right = merge(*parts[0], *merge(*parts[2], *parts[1]))
    complete, lse = attention_with_lse(q, k, v)
    for out, found in (left, right):
        assert (out - complete).abs().max() < 1e-5 and (found - lse).abs().max() < 1e-5
    nothing = (torch.full_like(complete, torch.nan), torch.full_like(lse, -torch.inf))
    assert torch.allclose(merge(complete, lse, *nothing)[0], complete, atol=1e-7)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_masses_are_the_tile_sums_of_the_softmax(row: Row) -> None:
    q, k, _, mask = inputs(row)
    full = BlockMap.full(2, row.heads, query_block=row.query_block, key_block=row.key_block, length=row.length)
    scores = q.double() @ k.double().repeat_interleave(row.heads // row.key_heads, 1).mT * row.dim**-0.5
    weights = scores.masked_fill(torch.zeros(()).bool() if mask is None else ~mask[:, None, None], -torch.inf).softmax(
        -1
    )
    tiles = torch.zeros(*full.to_dense().shape, dtype=torch.float64)
    for i in range(q.shape[2]):
        for j in range(tiles.shape[-1]):
            tiles[:, :, i // row.query_block, j] += weights[:, :, i, j * row.key_block : (j + 1) * row.key_block].sum(
                -1
            )
    mass, lse = block_mass(q, k, query_block=row.query_block, key_block=row.key_block, key_mask=mask)
    assert (mass - tiles).abs().max() < 1e-4
    assert float(mass.sum()) == pytest.approx(q.shape[0] * row.heads * q.shape[2], rel=1e-5)
    stale = lse + 0.7 * torch.randn_like(lse)
    repaired, found = block_mass(q, k, query_block=row.query_block, key_block=row.key_block, key_mask=mask, lse=stale)
    assert (repaired - tiles).abs().max() < 1e-4 and (found - lse).abs().max() < 1e-4  # not trusted: renormalised


@pytest.mark.parametrize("row", [r for r in ROWS if r.key_heads == r.heads], ids=lambda r: r.name)
def test_the_hard_bound_holds_on_every_row(row: Row) -> None:
    """|o - o_S| <= (1 - recall)(max |v| + |o_S|), and recall is exp(lse_S - lse)."""
    q, k, v, mask = inputs(row)
    block_map = map_of(row)
    complete, lse = attention_with_lse(q, k, v, key_mask=mask)
    sparse, sparse_lse = sparse_attention(q, k, v, block_map, key_mask=mask, return_lse=True)
    recall = (sparse_lse - lse).exp()
    rows = torch.arange(q.shape[2])
    mass, _ = row_mass(q, k, rows, key_block=row.key_block, key_mask=mask)
    direct = (mass * block_map.attended((rows // row.query_block).expand(2, row.heads, -1))).sum(-1)
    assert (recall - direct).abs().max() < 1e-5
    largest = v.norm(dim=-1).amax(-1)[..., None]
    assert ((complete - sparse).norm(dim=-1) <= error_bound(recall, largest, sparse.norm(dim=-1)) + 1e-5).all()


def test_a_kernel_is_not_chosen_for_a_call_that_it_refuses() -> None:
    q, _, v, _ = inputs(Row(""))
    case = Case.from_tensors(q, v, map_of(Row("")), None)
    why = reasons(case)
    assert why["torch"] is None and why["triton"] and why["flex"]
    assert choose(case) is next(kernel for kernel in KERNELS if why[kernel.name] is None)
    with pytest.raises(UnsupportedError, match="no log-sum-exp"):
        choose(case, "flex")
    with pytest.raises(InputError, match="unknown; use auto"):
        choose(case, "cuda-magic")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"query": (2, 4, 321, 32)}, "query is"),
        ({"key": (2, 4, 321, 32)}, "key is"),
        ({"key": (2, 3, 320, 32), "value": (2, 3, 320, 32)}, "not a multiple of 3"),
    ],
)
def test_shapes_that_disagree_with_the_map_are_refused(change: dict[str, tuple[int, ...]], match: str) -> None:
    shapes = {"query": (2, 4, 320, 32), "key": (2, 4, 320, 32), "value": (2, 4, 320, 32), **change}
    query, key, value = map(torch.zeros, shapes.values())
    with pytest.raises(InputError, match=match):
        sparse_attention(query, key, value, map_of(Row("")))


@pytest.mark.parametrize("padding", [False, True], ids=["", "padding"])
def test_full_heads_next_to_sparse_heads(padding: bool) -> None:
    row = Row("", length=200, key_heads=2, padding=padding)
    q, k, v, mask = inputs(row)
    blocks = map_of(row).to_dense()
    blocks[:, 1::2] = True
    block_map = BlockMap.from_dense(blocks, query_block=row.query_block, key_block=row.key_block, length=200)
    assert block_map.full_heads().tolist() == [[False, True] * 2] * len(q)
    out, lse = sparse_attention(q, k, v, block_map, key_mask=mask, return_lse=True, backend="torch")
    reference, reference_lse = expected(row, q, k, v, mask, block_map)
    assert (out - reference).abs().max() < 1e-5 and (lse - reference_lse).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_rows_that_see_padding_alone_give_zero_and_minus_infinity(dtype: torch.dtype) -> None:
    q, k, v, _ = inputs(Row("", length=256), dtype)
    mask = torch.ones(2, 256, dtype=torch.bool)
    mask[:, 64:128] = False
    blocks = torch.zeros(2, 4, 4, 4, dtype=torch.bool)
    blocks[..., 0, 1] = True  # the first query block sees padding alone
    blocks[..., 1:, 1:3] = True
    block_map = BlockMap.from_dense(blocks, query_block=64, key_block=64, length=256)
    out, lse = sparse_attention(q, k, v, block_map, key_mask=mask, return_lse=True)
    assert (out[:, :, :64] == 0).all() and (lse[:, :, :64] == -torch.inf).all()
    expected_out = F.scaled_dot_product_attention(q, k, v, attn_mask=block_map.expand() & mask[:, None, None])
    assert torch.allclose(out, expected_out, atol=2e-2 if dtype == torch.bfloat16 else 1e-5)


def test_a_window_is_never_padding_alone() -> None:
    q, k, v, _ = inputs(Row("", length=512))
    mask = torch.arange(512).expand(2, -1) < 200
    config = SparseAttention(recall=None, sparsity=0.8, policy="window", query_block=64)
    policy = build_policy(config)
    outcome, _ = policy.attend(AttentionCall(q, k, v, None, mask, Forced(), 0, 4, 1), policy.initial_state())
    assert outcome.out is not None and (outcome.out.abs().sum(-1) > 0).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"dtype": torch.int32}, "floating-point"),
        ({"mixed": True}, "one floating-point dtype"),
        ({"grad": True}, "no backward"),
    ],
    ids=["integers", "two dtypes", "gradients"],
)
def test_what_no_kernel_is_meant_for_is_refused(change: dict[str, Any], match: str) -> None:
    x = torch.randn(1, 2, 128, 8).to(change.get("dtype", torch.float32))
    value = x.double() if change.get("mixed") else x.clone().requires_grad_() if change.get("grad") else x
    full = BlockMap.full(1, 2, query_block=64, key_block=64, length=128)
    with pytest.raises((InputError, UnsupportedError), match=match):
        sparse_attention(x, x, value, full)


@pytest.mark.parametrize("block", [0, 192, 64.0, True], ids=str)
def test_blocks_are_powers_of_two(block: Any) -> None:
    with pytest.raises(InputError, match="power of two"):
        BlockMap.from_dense(torch.ones(1, 1, 2, 2, dtype=torch.bool), query_block=block, key_block=64, length=128)
    with pytest.raises(InputError, match="power of two"):
        BlockMap(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1), 64, block, 64, 64)


def test_plain_attention_by_rows_equals_that_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, mask = inputs(Row("", length=300, padding=True), torch.float64)
    complete = attention_with_lse(q, k, v, key_mask=mask)
    monkeypatch.setattr(dense, "_SCORES_BYTES", 8 * 8 * 300 * 7)
    by_rows = attention_with_lse(q, k, v, key_mask=mask)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(complete, by_rows, strict=True))


def test_the_configuration_reads_the_kernels_names() -> None:
    for kernel in KERNELS:
        assert SparseAttention(backend=kernel.name).backend == kernel.name
    assert backend_names() == ("auto", *(kernel.name for kernel in KERNELS))


@each_kernel
def test_a_kernel_is_importable_everywhere(kernel: Kernel) -> None:
    """So that a call that names it gives the reason why it cannot run here."""
    assert callable(kernel.load())
    assert not kernel.refuses(Case("another device", torch.float32, 64, 64, 64, 64, False)) or kernel is not KERNELS[-1]
