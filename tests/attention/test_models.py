"""Every video denoiser that diffusers ships, at tiny size: attaching finds its self-attention without patching its
class."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.attention.models import TINY, Tiny
from videogen.attention import SparseAttention, attach

BLOCKS: dict[str, Any] = {"query_block": 16, "key_block": 16, "rows": None, "audit_rows": 16}
each_model = pytest.mark.parametrize("tiny", TINY, ids=lambda tiny: tiny.name)


def outputs(model: torch.nn.Module, tiny: Tiny) -> list[torch.Tensor]:
    with torch.inference_mode():
        found = model(**tiny.inputs())
    flat = found if isinstance(found, list | tuple) else [found]
    return [
        x for part in flat for x in (part if isinstance(part, list | tuple) else [part]) if isinstance(x, torch.Tensor)
    ]


@each_model
def test_pass_through_is_bit_identical_and_leaves_nothing(tiny: Tiny) -> None:
    model = tiny.build()
    plain = outputs(model, tiny)
    with attach(model, SparseAttention(min_length=10**6)) as handle:
        attached = outputs(model, tiny)
        report = handle.report()
        assert report["mean_density"] == 1.0 and any("min_length=1000000" in reason for reason in report["dense"])
        assert all(why == "audio" for layer, why in report["untouched"].items() if "audio" in layer)
    after = outputs(model, tiny)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(plain, attached, after, strict=True))


@each_model
def test_density_one_through_the_sparse_kernel_equals_plain(tiny: Tiny) -> None:
    """Attention layers are found, tokens are reordered and restored, masks and text are respected: else this would
    differ."""
    model = tiny.build()
    plain = outputs(model, tiny)
    everything = SparseAttention(
        recall=None, sparsity=0.0, policy="window", order="tile", min_length=32, audit="off", **BLOCKS
    )
    with attach(model, everything) as handle:
        sparse = outputs(model, tiny)
        long = [record for record in handle.records if record.tokens >= 32]
        assert long and all(record.density == 1.0 and record.why is None for record in long)
    assert all(torch.allclose(a, b, atol=2e-4, rtol=1e-3) for a, b in zip(plain, sparse, strict=True))


@each_model
def test_text_attends_to_all_and_is_attended_by_all(tiny: Tiny) -> None:
    model = tiny.build()
    narrow = SparseAttention(recall=None, sparsity=0.9, policy="window", min_length=32, audit="off", **BLOCKS)
    with attach(model, narrow) as handle:
        outputs(model, tiny)
        assert all(record.density < 1 for record in handle.records if record.tokens > 64)
        for states in handle.snapshot().run.states.values():
            for state in states.values():
                assert state.block_map is not None
                mask = state.block_map.to_dense()
                rows, columns = mask.all(-1).flatten(0, 1).all(0), mask.all(-2).flatten(0, 1).all(0)
                assert not tiny.joint_text or (rows.any() and columns.any())
