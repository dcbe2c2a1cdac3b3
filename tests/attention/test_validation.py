"""Kernel validation: every wrong kernel is found at its first call, no right one is, and nothing else changes."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.attention import kernel_faults
from tests.attention.kernel_faults import SPARSE, SparseFault, WrongKernel
from tests.attention.test_attach import call, small, wan
from videogen import NumericsError
from videogen.attention import BlockMap, SparseAttention, attach, sparse_attention, validate
from videogen.attention.kernels import dense, table
from videogen.attention.kernels.dense import attention_with_lse
from videogen.attention.kernels.validation import (
    Call,
    find_fault,
    find_non_finite,
    reference_attention,
    sample_query_rows,
)
from videogen.attention.kernels.watch import KernelWatch, watching
from videogen.attention.watching import WatchMode


def test_each_of_40_faults_changes_a_result() -> None:
    draw = torch.Generator().manual_seed(4)
    q, k, v = (torch.randn(1, 256, 2, 24, generator=draw).transpose(1, 2) for _ in range(3))
    changed = 0
    for name, fault in kernel_faults.DENSE.items():
        for keys in (256, 32):  # one is for few keys alone
            right = F.scaled_dot_product_attention(q, k[:, :, :keys], v[:, :, :keys])
            try:
                wrong = fault(F.scaled_dot_product_attention, q, k[:, :, :keys], v[:, :, :keys])
            except RuntimeError:
                assert name == "the kernel raises"
                wrong = right.double()
            if wrong.dtype != right.dtype or not torch.allclose(wrong, right, atol=1e-4):
                changed += 1
                break
    sparse = sparse_inputs()
    outs = [fault.wrong(lambda *x: sparse_attention(*x, return_lse=True), *sparse) for fault in SPARSE]
    right_outs = sparse_attention(*sparse, return_lse=True)
    changed += sum(not all(x.equal(y) for x, y in zip(out, right_outs, strict=True)) for out in outs)
    assert changed == 40


@pytest.mark.parametrize("name", kernel_faults.DENSE)
def test_a_wrong_kernel_is_found_in_the_first_model_call_and_replaced(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = wan(8.0)
    expected = call(model)
    with caplog.at_level(logging.WARNING), WrongKernel(kernel_faults.DENSE[name]), validate(model) as handle:
        first, second = call(model), call(model)
    assert torch.equal(first, second) and torch.allclose(first, expected, atol=1e-4)
    report = handle.report()
    wrong = report["wrong"]
    assert wrong and all(verdict["kernel"] == "sdpa-flash" for verdict in wrong)
    assert {verdict["replaced_by"] for verdict in wrong} == {"reference"} and report["calls"]["reference"]
    assert sum("is used instead" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("name", ["no scale", "the kernel raises", "NaN in one number"])
def test_a_strict_run_stops_in_the_first_model_call(name: str) -> None:
    model = wan()
    message = r"kernel 'sdpa-flash' is wrong for float32 \[1, 2, 256, 24\] on cpu"
    with (
        WrongKernel(kernel_faults.DENSE[name]),
        validate(model, strict=True),
        pytest.raises(NumericsError, match=message),
    ):
        call(model)
    assert torch.equal(call(model), call(wan()))


@pytest.mark.parametrize("fault", SPARSE, ids=lambda fault: fault.name)
def test_a_wrong_sparse_kernel_is_found_and_replaced(fault: SparseFault, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, block_map = sparse_inputs()
    expected, expected_lse = sparse_attention(q, k, v, block_map, return_lse=True)
    right = table.KERNELS[-1].load()

    class Wrong(table.Kernel):
        def load(self) -> Callable[..., tuple[Tensor, Tensor]]:
            return lambda q, k, v, m, **options: fault.wrong(lambda *x: right(*x, **options), q, k, v, m)

    monkeypatch.setattr(table, "KERNELS", (Wrong("fast", "gather:gather_attention"), *table.KERNELS))
    monkeypatch.setattr("videogen.attention.sparse.KERNELS", table.KERNELS)
    watch = KernelWatch()
    with watching(watch):
        out, lse = sparse_attention(q, k, v, block_map, return_lse=True)
        again = sparse_attention(q, k, v, block_map)
    assert torch.equal(out, expected) and torch.equal(lse, expected_lse) and torch.equal(again, out)
    assert watch.report()["calls"] == {"sparse-torch": 2}
    assert [(verdict.kernel, verdict.replacement) for verdict in watch.wrong()] == [("sparse-fast", "sparse-torch")]
    with watching(KernelWatch(strict=True)), pytest.raises(NumericsError, match="'sparse-fast' is wrong"):
        sparse_attention(q, k, v, block_map)


def sparse_inputs() -> tuple[Tensor, Tensor, Tensor, BlockMap]:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(1, 3, 150, 24, generator=generator) for _ in range(3))
    mask = torch.rand(1, 3, 10, 10, generator=generator) < 0.5
    mask[..., 0] = mask[..., -1, -1] = True
    return 3 * q, k, v, BlockMap.from_dense(mask, query_block=16, key_block=16, length=150)


def test_a_wrong_dense_kernel_with_a_log_sum_exp_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, _ = sparse_inputs()
    expected = attention_with_lse(q, k, v)
    kernel, refuses = dense.DENSE["cpu-flash"]
    wrong = (lambda *given: (kernel(*given)[0], kernel(*given)[1] + 0.1), refuses)
    monkeypatch.setitem(dense.DENSE, "cpu-flash", wrong)
    watch = KernelWatch()
    with watching(watch):
        found = attention_with_lse(q, k, v)
    assert watch.report()["calls"] == {"lse-math": 1}
    assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(found, expected, strict=True))


def test_a_backend_of_diffusers_is_compared_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    model = wan()
    native = _AttentionBackendRegistry._backends[AttentionBackendName.NATIVE]
    plain, calls = call(model), []

    def fast(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
        calls.append(query.shape)
        return native(query, key, value, scale=scale)

    def wrong(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
        return native(query, key, value, scale=0.5)

    name = AttentionBackendName.XFORMERS
    model.set_attention_backend("native")
    for module in (block.attn1 for block in model.blocks):
        module.processor._attention_backend = name
    monkeypatch.setitem(_AttentionBackendRegistry._supported_arg_names, name, {"query", "key", "value", "scale"})
    monkeypatch.setitem(_AttentionBackendRegistry._backends, name, fast)
    with validate(model) as handle:
        assert torch.equal(call(model), plain) and torch.equal(call(model), plain)
        assert handle.report()["calls"] == {"xformers": 4, "sdpa-flash": 4} and not handle.report()["wrong"]
    assert len(calls) == 4 and model.blocks[0].attn1.processor._attention_backend == name
    other = wan(seed=0)
    for module in (block.attn1 for block in other.blocks):
        module.processor._attention_backend = name
    monkeypatch.setitem(_AttentionBackendRegistry._backends, name, wrong)
    with validate(other) as handle:
        assert torch.equal(call(other), plain) and torch.equal(call(other), plain)
    assert handle.report()["wrong"][0]["replaced_by"] == "native"


def test_a_run_is_bit_identical_with_and_without_it() -> None:
    for model, config in ((wan(8.0), None), (wan(8.0), small()), (wan(8.0), SparseAttention.adaspa(min_length=64))):
        outs = []
        for validated in (False, True):
            with validate(model) if validated else nullcontext(), attach_if(model, config):
                outs.append([call(model, timestep) for timestep in (900.0, 700.0, 500.0, 300.0)])
        assert all(torch.equal(x, y) for x, y in zip(*outs, strict=True))
        assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def attach_if(model: Any, config: SparseAttention | None) -> Any:
    return nullcontext() if config is None else attach(model, config, steps=4)


def test_each_new_shape_is_checked_once_per_model_and_each_call_counted() -> None:
    model = wan(8.0)
    with validate(model) as handle, attach(model, small(dense_steps=0.5), steps=4):
        for timestep in (900.0, 700.0, 500.0, 300.0):
            call(model, timestep)
        assert handle.report() == {"calls": {"sdpa-flash": 12, "sparse-torch": 4}, "validated": 3, "wrong": []}
        checked = len(handle.watch.verdicts)
        call(model, frames=2)
        assert len(handle.watch.verdicts) > checked
    with validate(model) as again:
        call(model)
        assert len(again.watch.verdicts) == checked + 1 + 1 and again.report()["validated"] == 2


DISTRIBUTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]] = {
    "normal": lambda q, k, v: (q, k, v),
    "peaked logits": lambda q, k, v: (30 * q, k, v),
    "one key wins": lambda q, k, v: (60 * k[:, :, torch.arange(q.shape[2]) % k.shape[2]], k, v),
    "flat": lambda q, k, v: (0.01 * q, k, v),
    "clusters of equal keys": lambda q, k, v: (q, k[:, :, torch.arange(k.shape[2]) // 8], v + 3),
    "constant": lambda q, k, v: (0 * q + 0.3, 0 * k + 0.2, v),
    "outlier channels": lambda q, k, v: (q * outlier(q, 10), k * outlier(k, 30), v * outlier(v, 100)),
    "tiny values": lambda q, k, v: (q, k, 1e-4 * v),
    "values far from zero": lambda q, k, v: (q, k, v + 50),
    "large scores": lambda q, k, v: (12 * q, 12 * k, 20 * v),
}


def outlier(x: Tensor, factor: float) -> Tensor:
    return torch.ones(x.shape[-1]).index_fill_(0, torch.tensor([1]), factor)


def trial(number: int) -> tuple[Call, str]:
    """A call of random shape, dtype and layout, of each distribution in turn."""
    draw, generator = random.Random(number), torch.Generator().manual_seed(number)
    name = list(DISTRIBUTIONS)[number % len(DISTRIBUTIONS)]
    dtype = (torch.float32, torch.bfloat16, torch.float16)[number // 10 % 3]
    batch, heads, size = draw.choice((1, 2)), draw.choice((1, 2, 3)), draw.choice((8, 16, 24, 40, 64, 72, 96, 128))
    queries = draw.choice((1, 7, 33, 64, 100, 129, 257))
    keys = draw.choice((queries, queries, 1, 8, 77, 300))
    shapes = ((batch, heads, n, size) for n in (queries, keys, keys))
    q, k, v = DISTRIBUTIONS[name](*(torch.randn(shape, generator=generator) for shape in shapes))
    q, k, v = (x.to(dtype) for x in (q, k, v))
    if draw.random() < 0.4:
        q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v))
    mask = None
    if draw.random() < 0.3:
        mask = torch.rand(batch, 1, 1, keys, generator=generator) < 0.7
    elif draw.random() < 0.2:
        mask = torch.randn(batch, heads, queries, keys, generator=generator).to(dtype)
    causal = mask is None and queries == keys and draw.random() < 0.1
    return Call(q, k, v, mask, causal, draw.choice((None, None, 0.1))), f"{number}: {name}, {dtype}"


def test_no_right_kernel_is_found_wrong_in_300_trials() -> None:
    alarms = []
    for number in range(300):
        given, name = trial(number)
        options: dict[str, Any] = {"attn_mask": given.mask, "is_causal": given.causal, "scale": given.scale}
        out = F.scaled_dot_product_attention(given.query, given.key, given.value, **options)
        found = [find_fault(given, out), find_fault(given, reference_attention(given)[0])]
        if given.mask is None and not given.causal:
            found.append(find_fault(given, *attention_with_lse(given.query, given.key, given.value, scale=given.scale)))
        alarms += [f"{name}: {fault}" for fault in found if fault is not None]
        alarms += [f"{name}: {part} is not finite" for part in find_non_finite(given)]
    assert not alarms


@pytest.mark.parametrize("part", ["query", "key", "value"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("layer", [0, 1])
def test_damaged_weights_are_named_with_their_layer(part: str, value: float, layer: int) -> None:
    model = wan()
    attention = model.blocks[layer].attn1
    bias = {"query": attention.norm_q.weight, "key": attention.norm_k.weight, "value": attention.to_v.bias}[part]
    with torch.no_grad():
        bias[3] = value
    name = rf"NaN or Inf in the \S*{part}.* of model.blocks.{layer}.attn1 \(float32 .*weights may be damaged"
    with validate(model), pytest.raises(NumericsError, match=name):
        call(model)
    call(model)  # nothing is attached any longer


def test_overflow_in_half_precision_has_its_remedy() -> None:
    q, k, v = (torch.randn(1, 2, 300, 8, generator=torch.Generator().manual_seed(5)).half() for _ in range(3))
    k[0, 1, 7, 2] = torch.inf
    with watching(KernelWatch()), WatchMode(Counter()), pytest.raises(NumericsError, match="float16 overflows"):
        F.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("kind", ["bool", "additive", "all keys of a row"])
def test_padding_that_a_mask_hides_is_no_alarm(kind: str) -> None:
    q, k, v = (torch.randn(1, 2, 9, 8, generator=torch.Generator().manual_seed(6)) for _ in range(3))
    visible = torch.ones(1, 1, 9, 9, dtype=torch.bool)
    if kind == "all keys of a row":
        visible[:, :, 4] = False
        q[:, :, 4] = torch.nan
    else:
        visible[..., 7:] = False
        k[:, :, 7:] = torch.nan
    mask = visible if kind != "additive" else torch.zeros(1, 1, 9, 9).masked_fill(~visible, -torch.inf)
    given = Call(q, k, v, mask)
    assert find_non_finite(given) == [] and find_non_finite(replace(given, mask=None)) != []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_wrong_scale_is_found_in_every_dtype(dtype: torch.dtype) -> None:
    q, k, v = (torch.randn(1, 2, 600, 64, generator=torch.Generator().manual_seed(1)).to(dtype) for _ in range(3))
    right = Call(q, k, v)
    assert find_fault(right, F.scaled_dot_product_attention(q, k, v)) is None
    assert find_fault(right, F.scaled_dot_product_attention(q, k, v, scale=1.06 / 8)) is not None
    assert find_fault(replace(right, scale=1.06 / 8), F.scaled_dot_product_attention(q, k, v)) is not None


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1000])
def test_the_sampled_rows_are_in_order_and_have_both_ends(length: int) -> None:
    rows = sample_query_rows(length).tolist()
    assert rows == sorted(set(rows)) and rows[0] == 0 and rows[-1] == length - 1
    assert {(length - 1) // 64 * 64, length // 2} <= set(rows)
