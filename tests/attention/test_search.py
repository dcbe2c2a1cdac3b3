"""The search of block maps: it meets its target on attention that is sharp, diffuse, grouped, short or has NaN."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from videogen import InputError
from videogen.attention import BlockMap, Forced, SparseAttention, audit_map, row_mass, search, sparse_attention
from videogen.attention.confidence import exceeds, lower_bound
from videogen.attention.policies.base import AttentionCall, AttentionOutcome, build_policy
from videogen.attention.select import head_sparsity, top_rows
from videogen.attention.tail import add_tail


def smooth(
    length: int = 2048, heads: int = 4, dim: int = 32, sharpness: float = 6.0, key_heads: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys that move slowly along the sequence, as neighbouring tokens of a video do: sharp, local
    attention."""
    generator = torch.Generator().manual_seed(3)
    walk = torch.randn(1, heads, length, dim, generator=generator).cumsum(2)
    walk = F.normalize(walk - walk.mean(2, keepdim=True), dim=-1)
    noise = 0.1 * torch.randn(1, heads, length, dim, generator=generator)
    query = sharpness * dim**0.25 * walk
    return query, (query + noise)[:, : key_heads or heads]


def exact_recall(query: torch.Tensor, key: torch.Tensor, block_map: BlockMap) -> torch.Tensor:
    rows = torch.arange(query.shape[2])
    mass, _ = row_mass(query, key, rows, key_block=block_map.key_block)
    blocks = (rows // block_map.query_block).expand(*query.shape[:2], -1)
    return (mass * block_map.attended(blocks)).sum(-1).mean(-1)


@pytest.mark.parametrize("rows", [None, 8, 16], ids=["all rows", "8 rows", "16 rows"])
@pytest.mark.parametrize("recall", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("key_heads", [4, 2], ids=["", "grouped"])
def test_a_target_recall_is_met_in_every_head(rows: int | None, recall: float, key_heads: int) -> None:
    query, key = smooth(key_heads=key_heads, sharpness=2.5)
    found = search(query, key, recall=recall, rows=rows, query_block=64)
    true = exact_recall(query, key, found)
    assert (true >= recall - 1e-6).all() and found.density < 0.9
    assert found.recall is not None and (found.recall - true).abs().max() < (1e-4 if rows is None else 0.05)


def test_sharp_attention_costs_little() -> None:
    query, key = smooth()
    assert search(query, key, recall=0.95, rows=8, query_block=64).density < 0.15


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.9])
def test_a_target_sparsity_is_met(sparsity: float) -> None:
    query, key = smooth(sharpness=2.0)
    plain = search(query, key, sparsity=sparsity, query_block=64)
    adaptive = search(query, key, sparsity=sparsity, query_block=64, head_adaptive=True)
    assert plain.density == pytest.approx(1 - sparsity, abs=0.02) and adaptive.density == pytest.approx(
        1 - sparsity, abs=0.02
    )
    assert plain.counts.unique().numel() == 1  # row-wise: every row has as many
    assert plain.recall is not None and (plain.recall > (1 - sparsity) * 1.3).all()


def test_head_adaptive_sparsity_is_that_of_adaspa() -> None:
    """Two of six heads above 0.8: the best two get (1 + s) / 2, the worst two (3s - 1) / 2."""
    mass = torch.ones(1, 6, 8, 10)
    mass[:, [1, 4], :, :2] = 1000
    sparsities = head_sparsity(mass, 0.8, torch.zeros(mass.shape, dtype=torch.bool))[0]
    assert sparsities[[1, 4]].tolist() == pytest.approx([0.9, 0.9])
    assert sorted(sparsities.tolist()) == pytest.approx([0.7, 0.7, 0.8, 0.8, 0.9, 0.9])
    with pytest.raises(InputError, match="below 1/3"):
        head_sparsity(mass, 0.3, torch.zeros(mass.shape, dtype=torch.bool))


def test_row_wise_selection_takes_forced_blocks_first() -> None:
    mass = torch.arange(10.0).expand(1, 1, 2, 10)
    forced = torch.zeros(1, 1, 2, 10, dtype=torch.bool)
    forced[..., 0] = True
    assert top_rows(mass, 0.8, forced)[0, 0, 0].nonzero().flatten().tolist() == [0, 9]


def test_forced_ranges_are_in_the_map() -> None:
    query, key = smooth()
    found = search(
        query, key, recall=0.9, rows=8, query_block=64, forced=Forced(rows=[(0, 10)], columns=[(2000, 2048)])
    )
    mask = found.to_dense()
    assert mask[..., 0, :].all() and mask[..., -1].all()


def test_an_audit_measures_the_recall_of_a_map() -> None:
    query, key = smooth(sharpness=3.0)
    found = search(query, key, recall=0.9, rows=None, query_block=64)
    true = exact_recall(query, key, found)
    mean, bound = audit_map(query, key, found, rows=512)
    assert (mean - true).abs().max() < 0.03 and (bound <= mean).all() and (bound < true + 0.01).all()
    other = torch.randn_like(query)
    assert (audit_map(other, key, found)[0] < 0.6).all()  # other queries, which the map does not fit


def test_recall_one_and_sparsity_zero_leave_nothing_out() -> None:
    query, key = smooth(300)
    assert search(query, key, recall=1.0).density == search(query, key, sparsity=0.0).density == 1.0


@pytest.mark.parametrize("where", ["query", "key"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
def test_inputs_that_are_not_finite_propagate_and_do_not_crash(where: str, value: float) -> None:
    query, key = smooth(700)
    {"query": query, "key": key}[where][0, 1, 123, 0] = value
    found = search(query, key, recall=0.9, rows=None, query_block=64)
    dense = F.scaled_dot_product_attention(query, key, key)
    sparse = sparse_attention(query, key, key, found)
    assert torch.equal(dense.isnan().any(-1), sparse.isnan().any(-1)) and dense.isnan().any()


def test_tail_compensation_reduces_the_error() -> None:
    query, key = smooth(sharpness=2.0)
    generator = torch.Generator().manual_seed(5)
    value = torch.randn(key.shape, generator=generator).cumsum(2) / 30
    found = search(query, key, recall=0.7, rows=None, query_block=64)
    exact = F.scaled_dot_product_attention(query, key, value)
    out, lse = sparse_attention(query, key, value, found, return_lse=True)
    compensated = add_tail(out, lse, query, key, value, found)
    assert (compensated - exact).square().mean() < 0.5 * (out - exact).square().mean()
    full = BlockMap.full(1, 4, query_block=64, key_block=64, length=2048)
    out, lse = sparse_attention(query, key, value, full, return_lse=True)
    assert torch.equal(add_tail(out, lse, query, key, value, full), out)  # nothing dropped, nothing added


def test_tail_is_exact_where_blocks_are_constant() -> None:
    """Keys and values that do not vary within a block equal their mean, so that nothing is lost."""
    generator = torch.Generator().manual_seed(0)
    key, value = (torch.randn(1, 2, 5, 16, generator=generator).repeat_interleave(64, 2)[:, :, :300] for _ in range(2))
    query = torch.randn(1, 2, 300, 16, generator=generator)
    found = search(query, key, sparsity=0.6, query_block=64)
    out, lse = sparse_attention(query, key, value, found, return_lse=True)
    assert (
        add_tail(out, lse, query, key, value, found) - F.scaled_dot_product_attention(query, key, value)
    ).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "give one of the two"),
        ({"recall": 0.9, "sparsity": 0.5}, "give one of the two"),
        ({"recall": 0.0}, "recall=0.0 must be above 0"),
        ({"recall": 1.5}, "recall=1.5"),
        ({"sparsity": 1.0}, "sparsity=1.0"),
        ({"sparsity": -0.1}, "sparsity=-0.1"),
        ({"recall": 0.9, "query_block": 96}, "query_block=96 must be a power of two"),
        ({"recall": 0.9, "key_block": 0}, "key_block=0"),
        ({"recall": 0.9, "rows": 0}, "rows=0"),
        ({"recall": 0.9, "rows": 999, "query_block": 64}, "rows=999"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(options: dict[str, Any], match: str) -> None:
    query, key = smooth(200)
    with pytest.raises(InputError, match=match):
        search(query, key, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"recall": 2}, "recall=2"),
        ({"recall": 0.9, "sparsity": 0.5}, "promise one"),
        ({"policy": "recall", "sparsity": 0.5}, "promises no sparsity"),
        ({"policy": "adaspa", "recall": 0.9}, "promises no recall"),
        ({"recall": None, "sparsity": 1.0}, "sparsity=1.0"),
        ({"key_block": 48}, "power of two"),
        ({"order": "hilbert"}, "raster or tile"),
        ({"audit": "never"}, "sampled, full, off"),
        ({"policy": "window", "recall": 0.9}, "promises no recall"),
        ({"dense_steps": 10}, "fractions of all steps"),
        ({"audit_rows": 1}, "audit_rows=1"),
        ({"recall": "0.9"}, "recall='0.9' must be int or float"),
        ({"tail": 1}, "tail=1 must be bool"),
        ({"policy": 1}, "policy=1 must be str"),
        ({"policy": "windo"}, "did you mean 'window'"),
        ({"rows": 64, "query_block": 32}, "rows=64 must be from 1 to the 32"),
        ({"search_at": ()}, "at least one fraction"),
        ({"search_at": 0.5}, "at least one fraction"),
        ({"search_at": ("soon",)}, "search_at='soon'"),
        ({"backend": "trition"}, "did you mean 'triton'"),
    ],
    ids=str,
)
def test_bad_configurations_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        SparseAttention(**options)


@pytest.mark.parametrize(
    ("spec", "recall", "match"),
    [("sparse", None, "use dense, adaptive"), ("adaspa:x", None, "use dense"), ("adaspa:2", None, "sparsity=2.0"),
     ("dense", 0.9, "recall=0.9 is for"), ("adaptive", 7.0, "recall=7.0"), ("adaspa:0.8.1", None, "unknown")],
)  # fmt: skip
def test_bad_specs_are_refused(spec: str, recall: float | None, match: str) -> None:
    with pytest.raises(InputError, match=match):
        SparseAttention.parse(spec, recall)


def test_specs_become_configurations() -> None:
    assert SparseAttention.parse("dense") is None
    assert SparseAttention.parse("adaptive", 0.9) == SparseAttention(recall=0.9)
    published = SparseAttention.parse("adaspa:0.8")
    assert published is not None
    assert (published.sparsity, published.query_block, published.rows, tuple(published.search_at)) == (
        0.8,
        64,
        None,
        (0.2, 0.6),
    )


def first_outcome(
    config: SparseAttention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> AttentionOutcome:
    policy = build_policy(config)
    call = AttentionCall(query, key, value, None, None, Forced(), 0, 4, 1)
    return policy.attend(call, policy.initial_state())[0]


def test_a_diffuse_head_runs_dense_next_to_sparse_heads() -> None:
    """Nearly full lists cost more than none; the other heads of the layer remain sparse."""
    query, key = smooth()
    query[:, 0] *= 0.0
    outcome = first_outcome(SparseAttention(recall=0.9, query_block=64), query, key, torch.randn_like(key))
    assert outcome.block_map is not None and outcome.block_map.full_heads().tolist() == [[True, False, False, False]]
    assert outcome.density < 0.7 and float(exact_recall(query, key, outcome.block_map).amin()) >= 0.9
    assert outcome.recall is not None and outcome.recall >= 0.9


def test_an_unaudited_recall_is_that_of_the_search() -> None:
    query, key = smooth()
    query[:, 0] *= 0.0  # a head that is made dense
    config = SparseAttention(recall=0.9, query_block=64, audit="off")
    outcome = first_outcome(config, query, key, key)
    assert outcome.block_map is not None and outcome.recall is not None and outcome.recall >= 0.9


def test_the_bound_is_wrong_no_more_often_than_its_error() -> None:
    """Rows that rarely miss: a normal approximation without a miss in its sample would conclude that there is none."""
    generator = torch.Generator().manual_seed(0)
    for missing in (0.02, 0.06, 0.2):
        for count in (32, 128, 512):
            rows = (torch.rand(2000, count, generator=generator) > missing).float()
            wrong = (lower_bound(rows, 0.05) > 1 - missing).float().mean()
            assert wrong <= 0.05, (missing, count)
            accepted = exceeds(rows, 1 - missing, 0.05).float().mean()
            assert accepted <= 0.05
    assert float(lower_bound(torch.ones(512), 0.01)) > 0.985  # and it is not trivially low
    assert float(lower_bound(0.97 + 0.03 * torch.rand(4096, generator=generator), 0.01)) > 0.975
    assert float(lower_bound(torch.tensor([0.5, 1.0]), 0.0)) == 0.75


def test_an_audit_rejects_a_map_that_some_rows_no_longer_fit() -> None:
    """6 % of the rows attend elsewhere than when the map was made: the true recall falls just below the target."""
    query, key = smooth(4096, heads=2)
    found = search(query, key, recall=0.99, rows=None, query_block=64)
    generator = torch.Generator().manual_seed(1)
    wrong, calls = 0, 40
    for trial in range(calls):
        moved = query.clone()
        rows = torch.randperm(4096, generator=generator)[: 4096 * 6 // 100]
        moved[:, :, rows] = query[:, :, (rows + 2048) % 4096]
        true = exact_recall(moved, key, found)
        assert float(true.amax()) < 0.95
        wrong += bool((audit_map(moved, key, found, rows=320, seed=trial)[1] >= 0.95).any())
    assert wrong <= 2


@pytest.mark.parametrize("length", [257, 4097])
def test_a_ragged_last_block_counts_by_its_tokens(length: int) -> None:
    query, key = smooth(length, heads=2, sharpness=2.0)
    found = search(query, key, recall=0.8, rows=None)
    true = exact_recall(query, key, found)
    mean, bound = audit_map(query, key, found, rows=2048 if length > 4000 else 128)
    assert (mean - true).abs().max() < 0.02 and (bound <= true + 1e-6).all()
    assert found.recall is not None and (found.recall - true).abs().max() < 1e-4


def test_small_blocks_are_ranked_by_sampled_rows() -> None:
    query, key = smooth(512, dim=16)
    exact = search(query, key, recall=0.9, rows=None, query_block=16, key_block=8).density
    assert search(query, key, recall=0.9, rows=4, query_block=16, key_block=8).density < min(0.9, 3 * exact)


@pytest.mark.parametrize("offset", [-300.0, -50.0, 50.0, 300.0])
def test_a_cached_lse_is_not_trusted(offset: float) -> None:
    query, key = smooth(600)
    lse = (query @ key.mT * query.shape[-1] ** -0.5).logsumexp(-1)
    fresh = search(query, key, sparsity=0.7, query_block=64)
    stale = search(query, key, sparsity=0.7, query_block=64, lse=lse + offset)
    assert torch.equal(fresh.to_dense(), stale.to_dense())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"key_mask": torch.ones(1, 64)}, "key_mask is torch.float32"),
        ({"key_mask": torch.ones(2, 64, dtype=torch.bool)}, "must be bool"),
        ({"lse": torch.zeros(1, 2, 63)}, "lse is"),
        ({"lse": torch.zeros(1, 2, 65)}, "lse is"),
        ({"forced": Forced(columns=[(60, 70)])}, "not within the 64 tokens"),
        ({"forced": Forced(rows=[(-1, 3)])}, "not within"),
        ({"forced": Forced(rows=[(5, 3)])}, "not within"),
    ],
    ids=[
        "float mask",
        "mask of another batch",
        "short lse",
        "long lse",
        "forced past the end",
        "forced before 0",
        "reversed",
    ],
)
def test_arguments_that_do_not_fit_the_tensors_are_refused(options: dict[str, Any], match: str) -> None:
    query = torch.randn(1, 2, 64, 8)
    with pytest.raises(InputError, match=match):
        search(query, query, recall=0.9, **options)
