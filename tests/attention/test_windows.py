"""Windows of a clip as branches of one step: each has its own searches, audits and maps, in any order or in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from tests.attention.test_attach import call, small, wan
from videogen.attention import SparseAttention, attach

STEPS = 8
BRANCHES = ("cond@0", "uncond@0", "cond@12", "uncond@12", "cond:1@12", "cond@24")
ORDERS = (BRANCHES, BRANCHES[::-1], ("uncond@12", "cond@24", "cond@0", "cond:1@12", "uncond@0", "cond@12"))
POLICIES: dict[str, dict[str, Any]] = {
    "recall": {"recall": 0.8},
    "adaspa": {"recall": None, "sparsity": 0.8, "search_at": (0.25, 0.6)},
    "window": {"recall": None, "sparsity": 0.8, "policy": "window"},
}


def run(
    model: nn.Module, config: SparseAttention, branches: Callable[[int], Sequence[str]], visible: tuple[int, ...] = ()
) -> tuple[dict[str, list[torch.Tensor]], dict[str, list[int]]]:
    """(outputs, steps with a search) of each branch. The windows at 12 are shorter; `visible` frames are those of all
    windows but the first."""
    found: dict[str, list[torch.Tensor]] = {}
    with attach(model, config, steps=STEPS) as handle:
        for step in range(STEPS):
            for branch in branches(step):
                start = int(branch.partition("@")[2])
                with handle.at(step, branch, visible_frames=visible if start else ()):
                    out = call(model, 900.0 - step, frames=3 if start == 12 else 4, seed=BRANCHES.index(branch))
                found.setdefault(branch, []).append(out)
        first = [record for record in handle.records if record.layer == "blocks.0.attn1"]
        return found, {branch: [r.step for r in first if r.branch == branch and r.searched] for branch in found}


@pytest.mark.parametrize("visible", [(), (0, 1)], ids=["", "visible frames"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_branch_is_what_it_is_without_the_others(policy: str, visible: tuple[int, ...]) -> None:
    model, config = wan(8.0), small(**POLICIES[policy])
    alone = [run(model, config, lambda _, b=branch: (b,), visible) for branch in BRANCHES]  # type: ignore[misc]
    for order in ORDERS:
        outputs, searches = run(model, config, lambda _, o=order: o, visible)  # type: ignore[misc]
        for branch, (expected, searched) in zip(BRANCHES, alone, strict=True):
            assert all(map(torch.equal, outputs[branch], expected[branch])) and searches[branch] == searched[branch]


@pytest.mark.parametrize("policy", POLICIES)
def test_windows_that_take_turns_search_at_their_next_step(policy: str) -> None:
    """A set that is absent at a search step searches at its next one; what it finds is what it would find alone."""
    model, config = wan(8.0), small(**POLICIES[policy])
    sets = (BRANCHES[:3], BRANCHES[3:])
    outputs, searches = run(model, config, lambda step: sets[step % 2])
    for index in (0, 1):
        expected, searched = run(
            model,
            config,
            lambda step, i=index: sets[i] if step % 2 == i else (),  # type: ignore[misc]
        )
        assert all(all(map(torch.equal, outputs[b], expected[b])) and searches[b] == searched[b] for b in sets[index])
    if policy == "adaspa":  # due from steps 1 and 4 on
        assert all(searches[b] == [2, 4] for b in sets[0]) and all(searches[b] == [1, 5] for b in sets[1])
