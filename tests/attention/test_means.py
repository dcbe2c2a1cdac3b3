"""Sparse attention and propagation together with other means of a model: each works and leaves its bits, or is refused
with a message. The table of docs/guide/gpu.md is generated from these cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.attention.test_attach import call, small, wan
from videogen import InputError
from videogen.attention import attach
from videogen.propagation import attach as attach_propagation

ROOT = Path(__file__).resolve().parents[2]
Attach = Callable[[Any], Any]
TECHNIQUES: dict[str, Attach] = {
    "sparse attention": lambda model: attach(model, small(recall=0.8)),
    "propagation": lambda model: attach_propagation(model, "every:2"),
}


@dataclass(frozen=True)
class Means:
    """A change of a model by the libraries. refused: the techniques that cannot be attached after it."""

    name: str
    apply: Callable[[Any], None]
    refused: tuple[str, ...] = ()


def _fuse(model: Any) -> None:
    model.fuse_qkv_projections()


def _store_in_fp8(model: Any) -> None:
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)


def _offload(kind: str) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        options = {"num_blocks_per_group": 1} if kind == "block_level" else {}
        model.enable_group_offload(torch.device("cpu"), torch.device("cpu"), offload_type=kind, **options)

    return apply


def _compile_blocks(model: Any) -> None:
    for block in model.blocks:
        block.compile(backend="eager")


def _compile_feed_forward(model: Any) -> None:
    for block in model.blocks:
        block.ffn.compile(backend="eager")


def _quantize(model: Any) -> None:
    """Linear layers with int8 weights, as quantizers put them in the place of the model's."""

    class Int8(nn.Module):
        def __init__(self, linear: nn.Linear) -> None:
            super().__init__()
            self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
            self.scale = linear.weight.abs().amax(1, keepdim=True) / 127
            self.weight = nn.Parameter((linear.weight / self.scale).round().to(torch.int8), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)

    for block in model.blocks:
        for attention in (block.attn1, block.attn2):
            attention.to_q, attention.to_k = Int8(attention.to_q), Int8(attention.to_k)


MEANS = (
    Means("fused QKV projections", _fuse),
    Means("fp8 storage (layerwise casting)", _store_in_fp8),
    Means("group offload, blocks", _offload("block_level")),
    Means("group offload, leaves", _offload("leaf_level")),
    Means("int8 weights in other linear layers", _quantize),
    Means("compiled blocks", _compile_blocks, refused=("sparse attention",)),
    Means("compiled feed-forward layers alone", _compile_feed_forward),
)
ORDERS = ("applied before", "applied while attached")


def build(seed: int = 0) -> Any:
    return wan(8.0, seed).requires_grad_(False)


def run(model: Any) -> list[torch.Tensor]:
    return [call(model, timestep) for timestep in (900.0, 500.0)]


def outcome(means: Means, technique: str, order: str) -> str:
    """`works, bit-equal after removal`, or `refused`."""
    torch._dynamo.reset()
    reference, model = build(), build()
    means.apply(reference)
    plain = run(reference)
    if order == ORDERS[0]:
        means.apply(model)
    try:
        handle = TECHNIQUES[technique](model)
    except InputError as error:
        assert "attach first, then compile" in str(error)
        return "refused"
    if order == ORDERS[1]:
        means.apply(model)
    with handle, torch._dynamo.config.patch(skip_nnmodule_hook_guards=False):
        attached = run(model)
        used = handle.records if technique == "sparse attention" else handle.evaluations
    assert used, f"{technique} received no call"
    assert all(torch.equal(x, y) for x, y in zip(run(model), plain, strict=True)), "other bits after removal"
    assert any(not torch.equal(x, y) for x, y in zip(attached, plain, strict=True)), "it had no effect"
    return "works, bit-equal after removal"


def table() -> str:
    """The table of the page."""
    titles = [f"{technique}, {order}" for technique in TECHNIQUES for order in ORDERS]
    lines = [f"| means | {' | '.join(titles)} |", "|---" * (1 + len(titles)) + "|"]
    for means in MEANS:
        cells = [
            "refused: attach first" if technique in means.refused and order == ORDERS[0] else "works, bit-equal"
            for technique in TECHNIQUES
            for order in ORDERS
        ]
        lines.append(f"| {means.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("technique", TECHNIQUES)
@pytest.mark.parametrize("means", MEANS, ids=lambda means: means.name)
def test_each_works_and_leaves_its_bits_or_is_refused(means: Means, technique: str, order: str) -> None:
    expected = "refused" if technique in means.refused and order == ORDERS[0] else "works, bit-equal after removal"
    assert outcome(means, technique, order) == expected


def test_the_page_has_the_table() -> None:
    assert table() in (ROOT / "docs/guide/gpu.md").read_text(encoding="utf-8")
