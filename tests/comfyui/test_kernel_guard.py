"""Kernel Guard: a wrong kernel is found in the first evaluation, a right one is not, and the clip stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.comfyui.hosts import Host
from videogen.attention import SparseAttention
from videogen.comfyui.hooks.attention_call import AttentionCall
from videogen.comfyui.hooks.model_runs import find_opener, with_runs
from videogen.comfyui.native.kernel_guard import KEY
from videogen.comfyui.native.sparse_attention import KEY as SPARSE
from videogen.comfyui.native.sparse_attention import SparseAttentionRun
from videogen.comfyui.reports.reports import collect_reports, describe_reports
from videogen.core.errors import NumericsError

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Any, Any], torch.Tensor]


def as_override(kernel: Kernel, name: str) -> Any:
    """ComfyUI's override by a kernel of (query, key, value, mask, scale)."""

    def override(func: Any, q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Any:
        call = AttentionCall.read(q, k, v, heads, *args, **kwargs)
        return call.result_as_given(kernel(call.query, call.key, call.value, call.mask, call.scale))

    override.__name__ = name
    return override


def right(q: Any, k: Any, v: Any, mask: Any, scale: Any) -> torch.Tensor:
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def in_half_precision(q: Any, k: Any, v: Any, mask: Any, scale: Any) -> torch.Tensor:
    return right(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask, scale).to(q.dtype)


def quantized(q: Any, k: Any, v: Any, mask: Any, scale: Any) -> torch.Tensor:
    """With 8-bit queries and keys, and values in 8 bits per channel, as SageAttention's."""

    def store(x: torch.Tensor, axis: int) -> torch.Tensor:
        step = x.abs().amax(axis, keepdim=True).clamp(min=1e-8) / 127
        return (x / step).round() * step

    return right(store(q, -1), store(k - k.mean(2, keepdim=True), -1), store(v, 2), mask, scale)


def with_another_scale(q: Any, k: Any, v: Any, mask: Any, scale: Any) -> torch.Tensor:
    return right(2 * q, k, v, mask, scale)


def with_nan(q: Any, k: Any, v: Any, mask: Any, scale: Any) -> torch.Tensor:
    return torch.full_like(q, torch.nan)


def with_a_wrong_block(q: Any, k: Any, v: Any, mask: Any, scale: Any) -> torch.Tensor:
    out = right(q, k, v, mask, scale).clone()
    out[:, :, -32:] = torch.randn(out[:, :, -32:].shape, generator=torch.Generator().manual_seed(0))
    return out


def without_the_last_head(q: Any, k: Any, v: Any, mask: Any, scale: Any) -> torch.Tensor:
    out = right(q, k, v, mask, scale).clone()
    out[:, -1] = 0
    return out


WRONG = (with_another_scale, with_nan, with_a_wrong_block, without_the_last_head)


@pytest.fixture
def guard(comfy: Host) -> Any:
    node = comfy.load_nodes("kernel_guard").KernelGuard
    return lambda model, action="stop": node.execute(model, action).result[0]


def with_kernel(comfy: Host, kernel: Kernel) -> Any:
    model = comfy.model()
    options = model.model_options.setdefault("transformer_options", {})
    options["optimized_attention_override"] = as_override(kernel, kernel.__name__)
    return model


@pytest.mark.parametrize("kernel", WRONG, ids=lambda kernel: kernel.__name__)
def test_a_wrong_kernel_stops_the_run_in_its_first_evaluation(comfy: Host, guard: Any, kernel: Kernel) -> None:
    model = with_kernel(comfy, kernel)
    guarded, calls = guard(model), comfy.count_calls(model)
    message = rf"kernel '{kernel.__name__}' is wrong for float32 \[.*(relative error|NaN).*bypass the node"
    with pytest.raises(NumericsError, match=message):
        comfy.sample(guarded)
    assert len(calls) == 1


@pytest.mark.parametrize("kernel", WRONG[:1], ids=lambda kernel: kernel.__name__)
def test_a_warning_lets_the_run_continue(
    comfy: Host, guard: Any, kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    model = with_kernel(comfy, kernel)
    guarded = guard(model, "warn")
    assert torch.equal(comfy.sample(guarded), comfy.sample(model))
    (line,) = describe_reports(collect_reports(guarded))
    assert line.startswith("kernel guard: the attention kernel 'with_another_scale' is wrong for float32")
    assert sum("is wrong for" in record.message for record in caplog.records) == 1


def test_nan_in_the_inputs_is_reported_and_logged_once(
    comfy: Host, guard: Any, caplog: pytest.LogCaptureFixture
) -> None:
    noise = comfy.noise.clone()
    noise[0, 0, 0, 0, 0] = torch.nan
    guarded = guard(comfy.model(), "warn")
    comfy.sample(guarded, noise=noise)
    (line,) = describe_reports(collect_reports(guarded))
    assert line.startswith("kernel guard: NaN or Inf in the query and key and value of attention (float32 [")
    assert sum("NaN or Inf" in record.message for record in caplog.records) == 1
    with pytest.raises(NumericsError, match="NaN or Inf in the query"):
        comfy.sample(guard(comfy.model()), noise=noise)


def test_nan_that_a_kernel_makes_is_no_fault_of_the_inputs(comfy: Host, guard: Any) -> None:
    guarded = guard(with_kernel(comfy, with_nan), "warn")
    comfy.sample(guarded)
    (line,) = describe_reports(collect_reports(guarded))
    assert line.startswith("kernel guard: the attention kernel 'with_nan' is wrong for float32")


@pytest.mark.parametrize("kernel", [None, right], ids=["ComfyUI's own", "an override"])
@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
def test_a_right_kernel_is_reported_and_nothing_changes(
    comfy: Host, guard: Any, kernel: Kernel | None, batched: bool
) -> None:
    model = comfy.model() if kernel is None else with_kernel(comfy, kernel)
    guarded = guard(model)
    assert torch.equal(comfy.sample(guarded, batched=batched), comfy.sample(model, batched=batched))
    (line,) = describe_reports(collect_reports(guarded))
    assert "is right, with a relative error of" in line and ("right is right" in line) == (kernel is not None)
    (check,) = collect_reports(guarded)[KEY]["kernels"]
    assert check["error"] < 1e-5 and check["calls"] >= 4  # each layer once


@pytest.mark.parametrize("kernel", [in_half_precision, quantized], ids=lambda kernel: kernel.__name__)
def test_low_precision_is_reported_but_does_not_stop(comfy: Host, guard: Any, kernel: Kernel) -> None:
    guarded = guard(with_kernel(comfy, kernel))
    comfy.sample(guarded)
    (line,) = describe_reports(collect_reports(guarded))
    assert "is of low precision, with a relative error of" in line
    (check,) = collect_reports(guarded)[KEY]["kernels"]
    assert 1e-4 < check["error"] < 0.1


@pytest.mark.parametrize("first", ["guard", "sparse"])
def test_it_stands_below_sparse_attention(comfy: Host, guard: Any, first: str) -> None:
    config = SparseAttention(**comfy.sparse, recall=0.8)

    def attach(model: Any) -> Any:
        return with_runs(model, SPARSE, lambda context: SparseAttentionRun(context, config))

    model = comfy.model()
    both = attach(guard(model)) if first == "guard" else guard(attach(model))
    found = comfy.sample(both, noise=comfy.long_noise)
    assert torch.equal(found, comfy.sample(attach(model), noise=comfy.long_noise))
    reports = collect_reports(both)
    assert reports[SPARSE]["mean_density"] < 0.9 and reports[KEY]["kernels"] and "below" not in reports[SPARSE]


def test_another_action_is_refused(comfy: Host, guard: Any) -> None:
    with pytest.raises(ValueError, match="when_wrong='ignore'"):
        guard(comfy.model(), "ignore")
    assert find_opener(comfy.model(), KEY) is None
