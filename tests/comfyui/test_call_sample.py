"""Samples of attention calls: what a result differs by, and what a kernel left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attend

from videogen.attention.kernels.validation import Call
from videogen.comfyui.native.call_sample import CallSample


def draw(*shape: int, seed: int = 0, dtype: Any = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def call(dtype: Any = torch.float32, **options: Any) -> Call:
    q, k, v = (draw(2, 6, 200, 16, seed=seed, dtype=dtype) for seed in range(3))
    return Call(q, k, v, **options)


def run(one: Call, **changes: Any) -> torch.Tensor:
    options = {"attn_mask": one.mask, "scale": one.scale, **changes}
    return attend(one.query, one.key, one.value, **options)


PADDING = torch.arange(200)[None, None, None] < 195
BIAS = torch.zeros(1, 1, 1, 200).masked_fill(~PADDING, -3e38)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("options", [{}, {"mask": PADDING}, {"scale": 0.5}], ids=["plain", "mask", "scale"])
def test_a_right_result_has_no_fault(dtype: Any, options: Any) -> None:
    one = call(dtype, **options)
    verdict = CallSample.draw(one, 3).compare(run(one))
    assert not verdict.why and verdict.error < 0.02


@pytest.mark.parametrize(
    ("options", "changes", "why"),
    [
        pytest.param({"mask": PADDING}, {"attn_mask": None}, "ignores the mask", id="padding of 5 keys is read"),
        pytest.param({"mask": BIAS}, {"attn_mask": None}, "ignores the mask", id="additive mask"),
        pytest.param({"scale": 0.2}, {"scale": None}, "ignores the scale", id="a scale close to the usual one"),
    ],
)
def test_it_names_what_a_kernel_ignores(options: Any, changes: Any, why: str) -> None:
    one = call(**options)
    verdict = CallSample.draw(one, 1).compare(run(one, **changes))
    assert why in verdict.why and not verdict.is_imprecise


def test_fewer_heads_of_keys() -> None:
    q, k, v = draw(1, 6, 64, 16), draw(1, 2, 64, 16, seed=1), draw(1, 2, 64, 16, seed=2)
    out = attend(q, k, v, enable_gqa=True)
    assert all(not CallSample.draw(Call(q, k, v), number).compare(out).why for number in range(6))
    assert CallSample.draw(Call(q, k, v), 0).compare(out.flip(1)).why


def test_a_result_of_another_shape_is_wrong() -> None:
    one = call()
    assert "instead of" in CallSample.draw(one, 0).compare(run(one)[:, :, :-1]).why
