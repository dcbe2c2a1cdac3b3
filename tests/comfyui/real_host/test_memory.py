"""Memory of many runs in one process, with all nodes on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host, draw
from tests.comfyui.real import Real

RUNS, WARM = 50, 10


def with_all_nodes(real: Host, model: Any) -> Any:
    sparse = real.load_nodes("sparse_attention").AdaptiveSparseAttention
    propagation = real.load_nodes("propagation").Propagation
    clock = real.load_nodes("dual_clock").DualClockMotion
    guard = real.load_nodes("kernel_guard").KernelGuard
    mask = torch.zeros(33, 64, 64)
    mask[:, :32] = 1
    (model,) = sparse.execute(model, "recall", 0.8, 0.8, min_tokens=32).result
    (model,) = propagation.execute(model, "every:2").result
    (model,) = clock.execute(model, {"samples": draw((1, 16, 9, 8, 8), seed=5)}, mask, 0.98, 0.8).result
    (model,) = guard.execute(model, "stop").result
    (model,) = real.load_nodes("long_context").LongContext.execute(model, 33, record=True).result
    return model


def live_bytes() -> int:
    gc.collect()
    return sum(one.numel() * one.element_size() for one in gc.get_objects() if type(one) is torch.Tensor)


@pytest.mark.slow
@pytest.mark.usefixtures("short_runs")
def test_fifty_runs_leave_nothing_in_memory(record_testsuite_property: Callable[[str, object], None]) -> None:
    import psutil

    real, process = Real(), psutil.Process()
    base = real.model()
    reused, tensors, resident = with_all_nodes(real, base), [], []
    for number in range(RUNS):
        model = reused if number % 2 else with_all_nodes(real, base)  # a cached node, and one that runs again
        real.sample(model, steps=6, noise=draw((1, 16, 9, 8, 8), seed=number))
        del model
        tensors.append(live_bytes())
        resident.append(float(process.memory_info().rss))
    after = torch.tensor(resident[WARM:])
    runs = torch.arange(len(after), dtype=torch.float32)
    growth = float(((runs - runs.mean()) * (after - after.mean())).sum() / ((runs - runs.mean()) ** 2).sum())
    record_testsuite_property("resident_mb", (round(float(after[0]) / 1e6, 1), round(float(after[-1]) / 1e6, 1)))
    record_testsuite_property("growth", round(growth * RUNS / float(after[0]), 5))
    assert tensors[-1] <= tensors[WARM]
    assert growth * RUNS < 0.01 * float(after[0])
