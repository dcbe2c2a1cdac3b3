"""A model on several GPUs, which ComfyUI calls at the same time: what sees these calls is plain, with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host, draw
from videogen.attention import SparseAttention
from videogen.comfyui.hooks.model_runs import with_runs
from videogen.comfyui.native import dual_clock, kernel_guard, look_back, propagation, sparse_attention
from videogen.comfyui.reports.reports import collect_reports, describe_reports
from videogen.propagation import StepCaching


def on_two_gpus(model: Any) -> Any:
    clone = model.clone()
    clone.set_additional_models("multigpu", [model.clone()])
    return clone


def sparse(model: Any, comfy: Host) -> Any:
    config = SparseAttention(recall=0.8, **comfy.sparse)
    return with_runs(model, sparse_attention.KEY, lambda c: sparse_attention.SparseAttentionRun(c, config))


def propagate(model: Any, comfy: Host) -> Any:
    return with_runs(model, propagation.KEY, lambda c: propagation.PropagatedRun(c, StepCaching(keys="every:2")))


def guard(model: Any, comfy: Host) -> Any:
    return with_runs(model, kernel_guard.KEY, lambda c: kernel_guard.GuardedRun(c, "stop"))


def extend(model: Any, comfy: Host) -> Any:
    return with_runs(model, look_back.KEY, look_back.LookBackRuns(look_back.LookBackSettings(5), record=False))


def move(model: Any, comfy: Host) -> Any:
    noise, mask = comfy.long_noise, torch.zeros(1, *comfy.long_noise.shape[3:])
    mask[:, :4] = 1.0
    settings = dual_clock.DualClock(draw(tuple(noise.shape), 2), mask, 0.9, 0.3)
    return with_runs(model, dual_clock.KEY, lambda c: dual_clock.DualClockRun(c, settings))


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize(
    ("add", "name"),
    [(sparse, "sparse attention"), (propagate, "propagation"), (guard, "kernel guard")],
    ids=["sparse attention", "propagation", "kernel guard"],
)
def test_the_run_is_plain_with_the_reason(comfy: Host, add: Any, name: str) -> None:
    model = on_two_gpus(comfy.model())
    plain = comfy.sample(model, steps=6, noise=comfy.long_noise)
    added = add(model, comfy)
    assert torch.equal(comfy.sample(added, steps=6, noise=comfy.long_noise), plain)
    reason = (
        f"{name}: no effect; the model is on 2 GPUs, which are called at the same time; it needs a model on one GPU"
    )
    assert describe_reports(collect_reports(added)) == [reason]


@pytest.mark.parametrize("add", [extend, move], ids=["long context", "dual clock"])
def test_what_sees_guided_predictions_only_is_as_on_one_gpu(comfy: Host, add: Any) -> None:
    model = comfy.model()
    expected = comfy.sample(add(model, comfy), noise=comfy.long_noise, batched=False)
    several = add(on_two_gpus(model), comfy)
    assert torch.equal(comfy.sample(several, noise=comfy.long_noise, batched=False), expected)
    (report,) = collect_reports(several).values()
    assert "declined" not in report
