"""A run of sparse attention in a host without any library: exact where nothing is left out, and its promise held."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.attention.test_attach import Lone, small
from tests.attention.toy_host import (
    BRANCHES,
    GRID,
    HEADS,
    LAYERS,
    LENGTH,
    SIZE,
    SOUND,
    STEPS,
    TEXT,
    Host,
    plain,
    sample,
    sample_plain,
    start,
)  # fmt: skip
from videogen import InputError
from videogen.attention import DENSE, AttentionRun, SparseAttention, TokenGrid, attach, padding_mask

EXACT = (TEXT, SOUND)


def video(seed: int = 0) -> torch.Tensor:
    """Queries, keys and values [1, h, l, d] of a sequence."""
    noise = torch.randn(1, LENGTH, HEADS * SIZE, generator=torch.Generator().manual_seed(seed))
    return (start()[:1] + 0.1 * noise).unflatten(2, (HEADS, SIZE)).transpose(1, 2)


def attend(run: AttentionRun, x: torch.Tensor, branch: str = "cond", step: int = 0, **options: Any) -> Any:
    grid = options.pop("grid", GRID)
    with torch.no_grad():
        return run.attend("layer", branch, step, grid, 3.0 * x, x, x, **{"exact_tokens": EXACT, **options})


@pytest.mark.parametrize(
    "config",
    [small(recall=1.0), small(dense_steps=1.0), small(min_length=LENGTH + 1)],
    ids=["recall 1", "all steps dense", "too short"],
)
def test_the_exact_setting_is_bit_identical_and_the_host_calls_its_kernel_once(config: SparseAttention) -> None:
    host = Host(AttentionRun(config, steps=STEPS))
    assert torch.equal(sample(lambda tokens, step: host.call(tokens, BRANCHES, step)), sample_plain())
    assert host.dense_calls == STEPS * LAYERS and host.run.report()["mean_density"] == 1.0
    assert len(host.run.report()["dense"]) == 1


@pytest.mark.parametrize(
    "config",
    [small(recall=1.0, order="tile"), small(dense_steps=0.5), SparseAttention.adaspa(min_length=64, order="tile")],
    ids=["recall 1", "dense steps", "before the first search of AdaSpa"],
)
def test_a_call_that_is_dense_in_any_case_is_not_looked_at(config: SparseAttention) -> None:
    """On the meta device a tensor has no values, so that any work on them fails."""
    x = torch.zeros(1, HEADS, LENGTH, SIZE, device="meta")
    run = AttentionRun(config, steps=10)
    assert attend(run, x) is DENSE and run.records[0].recall == 1.0 and run.records[0].why


@pytest.mark.parametrize("order", ["raster", "tile"])
def test_the_promise_is_held_with_text_and_sound(order: str) -> None:
    host = Host(AttentionRun(small(recall=0.9, audit="full", order=order), steps=STEPS))
    assert not torch.equal(sample(lambda tokens, step: host.call(tokens, BRANCHES, step)), sample_plain())
    report = host.run.report()
    assert report["least_recall"] >= 0.9 and report["mean_density"] < 0.9 and report["tokens"] == LENGTH
    assert report["layers"] == ["layer 0", "layer 1"] and report["steps"] == STEPS


def test_branches_in_one_batch_and_in_calls_of_their_own_are_the_same() -> None:
    together, separate = (Host(AttentionRun(small(recall=0.8))) for _ in range(2))
    mixed = Host(AttentionRun(small(recall=0.8)))

    def in_two_calls(tokens: torch.Tensor, step: int) -> torch.Tensor:
        return torch.cat([separate.call(tokens[i : i + 1], BRANCHES[i : i + 1], step) for i in (0, 1)])

    def sometimes(tokens: torch.Tensor, step: int) -> torch.Tensor:
        order = slice(None, None, -1) if step % 2 else slice(None)
        flipped = mixed.call(tokens.flip(0) if step % 2 else tokens, BRANCHES[order], step)
        return flipped.flip(0) if step % 2 else flipped

    expected = sample(lambda tokens, step: together.call(tokens, BRANCHES, step))
    assert torch.equal(sample(in_two_calls), expected) and torch.equal(sample(sometimes), expected)
    assert together.run.report()["mean_density"] < 1


def test_a_part_of_a_batch_may_stay_dense() -> None:
    run, x = AttentionRun(small(recall=0.95)), torch.cat([video(), 0.01 * video()])  # the second one is diffuse
    calls: list[slice] = []

    def dense(part: slice) -> torch.Tensor:
        calls.append(part)
        return plain("", 3.0 * x[part], x[part], x[part])

    with torch.no_grad():
        out = run.attend_batch("layer", BRANCHES, 0, GRID, 3.0 * x, x, x, dense, exact_tokens=EXACT)
        assert calls == [slice(1, 2)] and torch.equal(out[1:], dense(slice(1, 2)))
        assert not torch.equal(out[:1], dense(slice(0, 1)))


@pytest.mark.parametrize("order", ["raster", "tile"])
@pytest.mark.parametrize("grid", [GRID, None], ids=["", "unknown grid"])
def test_exact_tokens_attend_to_all_and_are_attended_to_by_all(grid: TokenGrid | None, order: str) -> None:
    config, x = small(recall=None, sparsity=0.9, policy="window", order=order), video()
    out = attend(AttentionRun(config), x, grid=grid)
    dense = plain("", 3.0 * x, x, x)
    for rows in (slice(0, TEXT), slice(LENGTH - SOUND, None)):
        torch.testing.assert_close(out[:, :, rows], dense[:, :, rows], atol=1e-5, rtol=1e-5)
    marked = torch.zeros_like(x)
    marked[:, :, :TEXT], marked[:, :, LENGTH - SOUND :] = 1.0, 1.0
    left_over = grid is not None  # tokens that are not the video's count as exact at both ends
    for exact, everywhere in ((EXACT, True), ((0, 0), left_over)):
        found = AttentionRun(config).attend("layer", "cond", 0, grid, x, x, marked, exact_tokens=exact)
        assert isinstance(found, torch.Tensor) and bool((found > 0).all()) is everywhere


@pytest.mark.parametrize(
    ("options", "searches"),
    [
        ({}, False),
        ({"branch": "uncond"}, True),
        ({"grid": TokenGrid(7, 4, 9)}, True),
        ({"visible_tokens": ((20, 40),)}, True),
        ({"ordinal": 1}, True),
    ],
    ids=["the same call", "another branch", "another grid of as many tokens", "visible tokens", "a second call"],
)
def test_a_map_belongs_to_what_it_depends_on(options: dict[str, Any], searches: bool) -> None:
    run, x = AttentionRun(small(recall=0.8)), video()
    for step in (0, 1):
        attend(run, x, step=step)
    attend(run, x, step=2, **options)
    assert [record.searched for record in run.records] == [True, True, searches]


def test_forgetting_one_branch_leaves_the_others() -> None:
    run, x = AttentionRun(small(recall=0.8)), video()
    for step in (0, 1):
        attend(run, x, "cond", step), attend(run, x, "uncond", step)
    run.forget(branch="cond")
    attend(run, x, "cond", 2), attend(run, x, "uncond", 2)
    assert [record.searched for record in run.records[-2:]] == [True, False] and len(run.records) == 6
    run.reset()
    assert not run.records and attend(run, x, "uncond", 2) is not DENSE and run.records[0].searched


def test_a_snapshot_takes_the_run_back() -> None:
    run, first, later = AttentionRun(small(recall=0.8)), video(), video(1)
    attend(run, first)
    before = run.snapshot()
    expected, report = attend(run, later, step=1), run.report()
    for _ in range(2):
        run.restore(before)
        assert torch.equal(attend(run, later, step=1), expected) and run.report() == report


@pytest.mark.parametrize("batch_of_mask", [1, 2])
def test_padding_is_a_mask_of_keys_in_any_form(batch_of_mask: int) -> None:
    x = video().expand(2, -1, -1, -1)
    bias = torch.zeros(batch_of_mask, 1, 1, LENGTH)
    bias[..., -SOUND:] = torch.finfo(torch.float32).min
    read = padding_mask(bias)
    assert read is not None
    found = [attend(AttentionRun(small(recall=0.8)), x, mask=mask) for mask in (read, read[:, 0, 0].expand(2, -1))]
    assert torch.equal(found[0], found[1]) and found[0] is not DENSE
    changed = x.clone()
    changed[:, :, -SOUND:] = 9.0  # nobody reads it
    other = AttentionRun(small(recall=0.8)).attend(
        "layer", "cond", 0, GRID, 3.0 * x, changed, changed, mask=read, exact_tokens=EXACT
    )
    assert isinstance(other, torch.Tensor)
    torch.testing.assert_close(other[:, :, :-SOUND], found[0][:, :, :-SOUND])


@pytest.mark.parametrize(
    "mask", [torch.full((1, 1, 1, 4), -1.0), torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 1, 4, dtype=torch.bool)],
    ids=["a weight", "a mask per query", "not additive"],
)  # fmt: skip
def test_other_masks_are_not_padding(mask: torch.Tensor) -> None:
    assert padding_mask(mask) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mask": torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()[None, None]}, "more than key padding"),
        ({"mask": torch.zeros(1, 1, 1, LENGTH)}, "more than key padding"),
        ({"exact_tokens": (LENGTH - 1, 1)}, "are all of"),
    ],
    ids=["triangular mask", "additive mask", "all tokens are exact"],
)
def test_what_stays_dense_is_in_the_report(options: dict[str, Any], reason: str) -> None:
    run = AttentionRun(small(recall=0.8))
    assert attend(run, video(), **options) is DENSE
    assert run.refuse("layer", "cond", 0, LENGTH, "the kernel is another pack's") is DENSE
    first, second = run.report({"layer 9": "cross-attention"})["dense"]
    assert reason in first and second == "the kernel is another pack's"
    assert run.report({"layer 9": "cross-attention"})["untouched"] == {"layer 9": "cross-attention"}


def test_diffusers_is_a_host_of_the_same_run() -> None:
    model, x = Lone(), torch.randn(1, 8, 32, generator=torch.Generator().manual_seed(0)).repeat_interleave(16, 1)
    tokens = x.unflatten(2, (2, -1)).transpose(1, 2)
    with torch.no_grad(), attach(model, small()) as handle:
        attached = model(x)
        out = AttentionRun(small()).attend("attention", "0", 0, None, tokens, tokens, tokens)
        assert handle.report()["mean_density"] < 1 and isinstance(out, torch.Tensor)
        assert torch.equal(attached, out)


def in_three_branches(x: torch.Tensor) -> torch.Tensor:
    return AttentionRun(small()).attend_batch("layer", "abc", 0, None, x, x, x, lambda part: x[part])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: AttentionRun("dense"), "nothing attached"),
        (lambda: AttentionRun("adaptiv"), "adaptive"),
        (lambda: AttentionRun(steps=0), "steps=0"),
        (lambda: attend(AttentionRun(SparseAttention.adaspa(min_length=64)), video()), r"AttentionRun\(..., steps=N"),
        (lambda: attend(AttentionRun(small()), video(), exact_tokens=(-1, 0)), r"exact_tokens=\(-1, 0\)"),
        (lambda: in_three_branches(torch.zeros(2, 1, 64, 8)), "batch of 2 cannot be divided among 3 branches"),
    ],
    ids=["dense", "misspelt", "no steps", "steps unknown", "below 0", "branches of another batch"],
)
def test_refused(call: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        call()
