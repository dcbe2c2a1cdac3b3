"""Sparse attention and propagation together with other means of a model: each works and leaves its bits, or is refused
with a message. The table of docs/guide/gpu.md is generated from these cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel

from tests.attention.means import MEANS, Means
from tests.attention.test_attach import call, small
from videogen import InputError
from videogen.attention import attach
from videogen.propagation import attach as attach_propagation

ROOT = Path(__file__).resolve().parents[2]
WORKS, REFUSED = "works, bit-equal", "refused: attach first"
Attach = Callable[[Any], Any]
TECHNIQUES: dict[str, Attach] = {
    "sparse attention": lambda model: attach(model, small(recall=0.8)),
    "propagation": lambda model: attach_propagation(model, "every:2"),
}
ORDERS = ("applied before", "applied while attached")


def build() -> Any:
    """A tiny Wan with sharp attention, whose layers can be quantized in blocks of 32."""
    torch.manual_seed(0)
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=32, in_channels=4, out_channels=4, text_dim=16,
        freq_dim=16, ffn_dim=32, num_layers=2, rope_max_seq_len=64,
    ).eval()  # fmt: skip
    for block in model.blocks:
        block.attn1.norm_q.weight.data *= 8.0
    return model.requires_grad_(False)


def run(model: Any) -> list[torch.Tensor]:
    return [call(model, timestep) for timestep in (900.0, 500.0)]


def equal(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(found, wanted, strict=True))


def outcome(means: Means, technique: str, order: str) -> str:
    """`WORKS`, also without the means again where it can be removed, or `REFUSED`."""
    torch._dynamo.reset()
    reference, model = build(), build()
    base = run(reference)
    means.apply(reference)
    plain = run(reference)
    if order == ORDERS[0]:
        means.apply(model)
    try:
        handle = TECHNIQUES[technique](model)
    except InputError as error:
        assert "attach first, then compile" in str(error)
        return REFUSED
    if order == ORDERS[1]:
        means.apply(model)
    with handle, torch._dynamo.config.patch(skip_nnmodule_hook_guards=False):
        attached = run(model)
        used = handle.records if technique == "sparse attention" else handle.evaluations
    assert used, f"{technique} received no call"
    assert equal(run(model), plain), "other bits after removal"
    assert any(not torch.equal(x, y) for x, y in zip(attached, plain, strict=True)), "it had no effect"
    if means.remove is not None:
        assert not equal(plain, base), "the means had no effect"
        means.remove(model)
        assert equal(run(model), base), "other bits without the means"
    return WORKS


def expected(means: Means, technique: str, order: str) -> str:
    return REFUSED if technique in means.refused and order == ORDERS[0] else WORKS


def table() -> str:
    """The table of the page."""
    titles = [f"{technique}, {order}" for technique in TECHNIQUES for order in ORDERS]
    lines = [f"| means | {' | '.join(titles)} |", "|---" * (1 + len(titles)) + "|"]
    for means in MEANS:
        cells = [
            f"not measured here: needs {means.package}" if means.package else expected(means, technique, order)
            for technique in TECHNIQUES
            for order in ORDERS
        ]
        lines.append(f"| {means.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


CASES = [
    pytest.param(
        means, technique, order, id=f"{means.name}-{technique}-{order}",
        marks=[pytest.mark.slow] if (technique, order) in means.slow else [],
    )
    for means in MEANS if means.is_measured for technique in TECHNIQUES for order in ORDERS
]  # fmt: skip


@pytest.mark.parametrize(("means", "technique", "order"), CASES)
def test_each_works_and_leaves_its_bits_or_is_refused(means: Means, technique: str, order: str) -> None:
    assert outcome(means, technique, order) == expected(means, technique, order)


def test_the_page_has_the_table() -> None:
    assert table() in (ROOT / "docs/guide/gpu.md").read_text(encoding="utf-8")
