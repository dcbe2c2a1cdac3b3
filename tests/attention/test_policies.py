"""Contract of attention policies: every row of the table, as it comes. A new row is tested without a change here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.attention.test_attach import call, footprint, wan
from tests.source import compared_strings
from videogen import InputError, RenderRequest
from videogen.attention import (
    ATTENTION_POLICIES,
    AttentionCall,
    AttentionOutcome,
    AttentionPolicy,
    AttentionPolicyRow,
    Forced,
    SparseAttention,
    attach,
)
from videogen.attention.policies.base import build_policy
from videogen.attention.policies.table import parse_spec, policy_row, spec_forms

each_policy = pytest.mark.parametrize("row", ATTENTION_POLICIES, ids=lambda row: row.name)
#: for each target: where nothing is left out, and where much is
EXACT = {"recall": 1.0, "sparsity": 0.0}
SPARSE = {"recall": 0.6, "sparsity": 0.7}
STEPS, LENGTH = 6, 320
ROOT = Path(__file__).resolve().parents[2]


def configuration(row: AttentionPolicyRow, target: float, **options: Any) -> SparseAttention:
    """The policy as its users get it, on sequences and blocks of a test's size."""
    return SparseAttention.from_policy(
        row.name, target, **{"min_length": 64, "query_block": 16, "key_block": 16, **options}
    )


def band_call(
    step: int, key_heads: int = 4, padding: int = 0, forced: Forced | None = None, seed: int = 0
) -> AttentionCall:
    """A call whose attention concentrates on few blocks: each band of tokens has its own direction."""
    generator = torch.Generator().manual_seed(seed)

    def banded(heads: int) -> torch.Tensor:
        bands = torch.randn(2, heads, LENGTH // 32, 24, generator=generator).repeat_interleave(32, 2)
        return 2 * bands + 0.1 * torch.randn(2, heads, LENGTH, 24, generator=generator)

    keys = banded(key_heads)
    query = keys.repeat_interleave(4 // key_heads, 1) + 0.1 * torch.randn(2, 4, LENGTH, 24, generator=generator)
    mask = torch.arange(LENGTH).expand(2, -1) < LENGTH - padding if padding else None
    value = torch.randn(2, key_heads, LENGTH, 24, generator=generator)
    return AttentionCall(query, keys, value, None, mask, forced or Forced(), step, STEPS, seed=step)


def dense(case: AttentionCall, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Plain attention, within a mask of tokens if one is given."""
    if case.key_mask is not None:
        valid = case.key_mask[:, None, None, :]
        mask = valid if mask is None else mask & valid
    return scaled_dot_product_attention(case.query, case.key, case.value, attn_mask=mask, enable_gqa=True)


def outcomes(policy: AttentionPolicy[Any], build_call: Callable[[int], AttentionCall]) -> list[AttentionOutcome]:
    """The outcomes of all steps of a run."""
    state, found = policy.initial_state(), []
    for step in range(STEPS):
        outcome, state = policy.attend(build_call(step), state)
        found.append(outcome)
    return found


CALLS: dict[str, Callable[[int], AttentionCall]] = {
    "plain": band_call,
    "grouped queries": lambda step: band_call(step, key_heads=2),
    "padding": lambda step: band_call(step, padding=70),
    "forced rows and columns": lambda step: band_call(
        step, forced=Forced(rows=[(0, 20)], columns=[(0, 20), (300, 320)])
    ),
    "visible frames": lambda step: band_call(step, forced=Forced(extra=[(96, 160)])),
}


@each_policy
@pytest.mark.parametrize("build_call", CALLS.values(), ids=CALLS)
def test_its_exact_setting_is_dense_attention(
    row: AttentionPolicyRow, build_call: Callable[[int], AttentionCall]
) -> None:
    policy = build_policy(configuration(row, EXACT[row.target]))
    for step, outcome in enumerate(outcomes(policy, build_call)):
        assert outcome.density == 1.0
        if outcome.out is not None:
            assert (outcome.out - dense(build_call(step))).abs().max() < 1e-5


@each_policy
@pytest.mark.parametrize("build_call", CALLS.values(), ids=CALLS)
def test_sparse_steps_are_attention_within_the_map(
    row: AttentionPolicyRow, build_call: Callable[[int], AttentionCall]
) -> None:
    policy = build_policy(configuration(row, SPARSE[row.target]))
    sparse = 0
    for step, outcome in enumerate(outcomes(policy, build_call)):
        case, block_map = build_call(step), outcome.block_map
        if block_map is None:
            assert outcome.why and outcome.density == 1.0
            continue
        sparse += 1
        mask = block_map.expand()
        assert outcome.out is not None and outcome.density == block_map.density < 1
        assert (outcome.out - dense(case, mask)).abs().max() < 1e-5
        for start, stop in case.forced.rows:
            assert mask[:, :, start:stop].all()
        for start, stop in (*case.forced.columns, *case.forced.extra):
            assert mask[..., start:stop].all()
    assert sparse >= STEPS / 2


@each_policy
def test_rows_that_see_padding_alone_never_arise(row: AttentionPolicyRow) -> None:
    policy = build_policy(configuration(row, SPARSE[row.target]))
    for outcome in outcomes(policy, CALLS["padding"]):
        assert outcome.out is None or (outcome.out.abs().sum(-1) > 0).all()


@each_policy
def test_a_state_may_be_used_again(row: AttentionPolicyRow) -> None:
    """`attend` changes neither the state that it is given nor the policy."""
    policy = build_policy(configuration(row, SPARSE[row.target]))
    state = policy.initial_state()
    for step in range(STEPS):
        contents = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
        first, after = policy.attend(band_call(step, seed=step), state)
        second, _ = policy.attend(band_call(step, seed=step), state)
        assert all(getattr(state, name) is value for name, value in contents.items())
        assert (first.density, first.searched, first.recall, first.why) == (
            second.density, second.searched, second.recall, second.why,
        )  # fmt: skip
        neither = first.out is None and second.out is None
        assert neither or torch.equal(first.out, second.out)  # type: ignore[arg-type]
        state = after


@each_policy
def test_a_run_continues_from_a_snapshot_as_it_did(row: AttentionPolicyRow) -> None:
    model, config = wan(8.0), configuration(row, SPARSE[row.target])
    for k in range(STEPS):
        with attach(model, config, steps=STEPS) as handle:
            for step in range(k):
                call(model, 900.0 - 100 * step, seed=step)
            snapshot = handle.snapshot()
            runs = []
            for _ in range(2):
                outputs = [call(model, 900.0 - 100 * step, seed=step) for step in range(k, STEPS)]
                runs.append((outputs, list(handle.records), handle.report()))
                handle.restore(snapshot)
            assert len(handle.records) == 2 * k
        assert all(map(torch.equal, runs[0][0], runs[1][0])) and runs[0][1:] == runs[1][1:]


@each_policy
def test_a_run_continues_with_the_steps_that_its_user_states(row: AttentionPolicyRow) -> None:
    """As the engine's loop does; what a restored run leaves behind does not disturb the other branch."""
    model, config = wan(8.0), configuration(row, SPARSE[row.target])

    def forward(step: int, branch: str) -> torch.Tensor:
        with handle.at(step, branch):
            return call(model, seed=step + len(branch))

    with attach(model, config, steps=STEPS) as handle:
        straight = [forward(step, branch) for step in range(STEPS) for branch in ("cond", "uncond")]
        handle.reset()
        for step in range(3):
            forward(step, "cond"), forward(step, "uncond")
        snapshot = handle.snapshot()
        for step in (3, 4):
            forward(step, "cond")
        handle.restore(snapshot)
        rest = [forward(step, branch) for step in range(3, STEPS) for branch in ("cond", "uncond")]
    assert all(map(torch.equal, straight[6:], rest))


def test_a_snapshot_of_another_model_is_refused() -> None:
    with attach(wan(), "adaptive") as one, attach(torch.nn.Sequential(wan()), "adaptive") as other:
        snapshot = other.snapshot()
        with pytest.raises(InputError, match="another model"):
            one.restore(snapshot)


@each_policy
def test_detached_the_model_is_as_before(row: AttentionPolicyRow) -> None:
    model = wan(8.0)
    before, plain = footprint(model), call(model)
    with attach(model, configuration(row, SPARSE[row.target]), steps=2) as handle:
        attached = [call(model, timestep) for timestep in (900.0, 100.0)]
        assert handle.report()["promised"] == {row.target: SPARSE[row.target]}
        assert handle.report()["config"]["policy"] == row.name
    assert footprint(model) == before and torch.equal(call(model), plain)
    assert not torch.equal(attached[1], call(model, 100.0))


@each_policy
def test_number_of_steps_is_required_where_the_row_says_so(row: AttentionPolicyRow) -> None:
    config = configuration(row, SPARSE[row.target], dense_steps=0.0)
    if row.needs_steps:
        with pytest.raises(InputError, match="steps=N"):
            attach(wan(), config)
    else:
        attach(wan(), config).close()


@each_policy
def test_its_spec_its_fields_and_its_stored_form_agree(row: AttentionPolicyRow) -> None:
    default = SparseAttention.from_policy(row.name)
    assert default.row is row and default.target == {row.target: row.default}
    assert SparseAttention.parse(row.keyword) == default
    assert SparseAttention.from_dict(dataclasses.asdict(default)) == default
    assert SparseAttention(policy=row.name).target == {row.target: row.default}
    number = SPARSE[row.target]
    if row.spec != row.keyword:
        assert SparseAttention.parse(f"{row.keyword}:{number}") == SparseAttention.from_policy(row.name, number)
    elif row.target == "recall":
        assert SparseAttention.parse(row.keyword, recall=number) == SparseAttention.from_policy(row.name, number)
    else:
        with pytest.raises(InputError, match="is unknown"):
            SparseAttention.parse(f"{row.keyword}:{number}")
    other = next(name for name in EXACT if name != row.target)
    with pytest.raises(InputError, match=f"promises no {other}.*give {row.target} instead"):
        SparseAttention(**{"policy": row.name, other: 0.5})  # type: ignore[arg-type]


def test_names_and_specs_are_unique_and_described() -> None:
    assert (
        len({row.name for row in ATTENTION_POLICIES})
        == len({row.keyword for row in ATTENTION_POLICIES})
        == len(ATTENTION_POLICIES)
    )
    assert all(row.description and row.load().__doc__ for row in ATTENTION_POLICIES)
    assert spec_forms()[0] == "dense" and parse_spec("dense") == (None, None)
    with pytest.raises(InputError, match="did you mean 'adaspa'"):
        policy_row("adspa")


@pytest.mark.parametrize(
    ("stored", "policy"),
    [
        pytest.param({"recall": 0.9, "sparsity": None, "window": False}, "recall", id="a recall"),
        pytest.param({"recall": None, "sparsity": 0.8, "window": False}, "adaspa", id="a sparsity"),
        pytest.param({"recall": None, "sparsity": 0.8, "window": True}, "window", id="a window"),
        pytest.param({"recall": None, "sparsity": 0.8, "policy": "window"}, "window", id="today's form"),
        pytest.param({"sparsity": 0.8, "policy": "window", "window": False}, "window", id="today's name wins"),
        pytest.param({"recall": 0.9}, "recall", id="the recall alone"),
        pytest.param({}, "recall", id="empty"),
    ],
)
def test_configurations_of_earlier_versions_are_read(stored: dict[str, Any], policy: str) -> None:
    config = SparseAttention.from_dict(stored)
    assert config.policy == policy
    request = RenderRequest.from_dict({"prompt": "a", "attention": stored})
    assert request.sparse_attention == config
    assert isinstance(request.attention, dict) and "window" not in request.attention


def test_a_window_with_a_recall_is_refused_as_before() -> None:
    with pytest.raises(InputError, match="promises no recall"):
        SparseAttention.from_dict({"recall": 0.9, "window": True})
    with pytest.raises(InputError, match="window=1 must be bool"):
        SparseAttention.from_dict({"recall": None, "sparsity": 0.9, "window": 1})


def test_no_policy_is_compared_by_name_outside_the_table() -> None:
    names = {row.name for row in ATTENTION_POLICIES} - {field.name for field in dataclasses.fields(SparseAttention)}
    files = [
        path
        for folder in ("attention", "videogen/cli", "videogen/request", "videogen/techniques")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != ROOT / "attention" / "policies" / "table.py"
    ]
    found = [(path.name, line, text) for path in files for line, text in compared_strings(path)]
    assert names and len(found) > 50
    assert not [place for place in found if place[2] in names]
