"""Propagation on a native model: exact if each step is a key step, fewer calls otherwise, plain with a reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.comfyui.double import Guider, Model, Sampler
from videogen.comfyui.model_runs import find_opener, with_runs
from videogen.comfyui.propagation import KEY, PropagatedRun
from videogen.comfyui.reports import NOTHING, collect_reports, describe_reports
from videogen.propagation import StepCaching

SIGMAS = torch.linspace(1, 0, 9)
NOISE = torch.randn(1, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def attach(model: Any, rule: str) -> Any:
    return with_runs(model, KEY, lambda context: PropagatedRun(context, StepCaching(keys=rule)))


def sample(model: Any, sampler: str = "euler", *, batched: bool = True) -> Any:
    return Guider(model, batched=batched).sample(Sampler(sampler), SIGMAS, NOISE)


@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
def test_it_is_exact_where_each_step_is_a_key_step(batched: bool) -> None:
    model = Model()
    assert torch.equal(sample(attach(model, "every:1"), batched=batched), sample(model, batched=batched))


@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
def test_it_calls_the_model_at_key_steps_only(batched: bool) -> None:
    model = Model()
    plain, calls = sample(model), []
    model.model.diffusion_model.embed.register_forward_hook(lambda *_: calls.append(1))
    half = attach(model, "every:2")
    found = sample(half, batched=batched)
    report = collect_reports(half)[KEY]
    assert len(calls) == len(report["keys"]) * (1 if batched else 2) and len(report["keys"]) < 7
    assert 0 < (found - plain).norm() / plain.norm() < 0.2
    assert describe_reports({KEY: report}) == [f"propagation: {len(report['keys'])} of 8 steps were key steps"]
    assert torch.equal(sample(half, batched=batched), found) and torch.equal(sample(model), plain)


def test_a_sampler_with_two_calls_per_step_runs_plain_with_the_reason() -> None:
    model = Model()
    cached = attach(model, "every:2")
    assert torch.equal(sample(cached, "heun"), sample(model, "heun"))
    (line,) = describe_reports(collect_reports(cached))
    assert line.startswith("propagation: no effect; sampler 'heun' calls the model several times")


def test_a_model_without_nodes_has_no_report() -> None:
    assert describe_reports(collect_reports(Model())) == [NOTHING]
    assert describe_reports(collect_reports(attach(Model(), "every:2"))) == [NOTHING]
    assert find_opener(Model(), KEY) is None
