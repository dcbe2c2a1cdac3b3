"""Runs that are split between samplers, such as Wan 2.2's for high and low noise, and runs of few steps."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.comfyui.double import FlowSampling
from tests.comfyui.hosts import Host, draw
from videogen.attention import SparseAttention
from videogen.comfyui.hooks.model_runs import with_runs
from videogen.comfyui.hooks.run_parts import RunPart
from videogen.comfyui.native import dual_clock, look_back, propagation, sparse_attention
from videogen.comfyui.reports.reports import collect_reports, describe_reports
from videogen.propagation import StepCaching

STEPS = 12
#: name of a technique -> it in its exact setting, on a model
EXACT: dict[str, Callable[[Any, Host], Any]] = {
    "sparse attention": lambda model, comfy: _sparse(model, comfy, recall=1.0),
    "AdaSpa": lambda model, comfy: _sparse(model, comfy, policy="adaspa", sparsity=0.0),
    "propagation": lambda model, comfy: propagate(model, "every:1"),
    "dual clock": lambda model, comfy: with_runs(
        model, dual_clock.KEY, lambda c: dual_clock.DualClockRun(c, _no_motion(comfy))
    ),
    "long context": lambda model, comfy: with_runs(
        model,
        look_back.KEY,
        look_back.LookBackRuns(look_back.LookBackSettings(comfy.noise.shape[2]), record=False),
    ),
}


def _sparse(model: Any, comfy: Host, policy: str = "", sparsity: float = 0.0, **settings: Any) -> Any:
    own = {**comfy.sparse, **settings}
    config = SparseAttention.from_policy(policy, sparsity, **own) if policy else SparseAttention(**own)
    return with_runs(model, sparse_attention.KEY, lambda context: sparse_attention.SparseAttentionRun(context, config))


def _no_motion(comfy: Host) -> dual_clock.DualClock:
    return dual_clock.DualClock(draw(tuple(comfy.noise.shape), 2), torch.zeros(1, *comfy.noise.shape[3:]))


def propagate(model: Any, rule: str) -> Any:
    return with_runs(model, propagation.KEY, lambda c: propagation.PropagatedRun(c, StepCaching(keys=rule)))


def sample_parts(comfy: Host, high: Any, low: Any, at: int = 5, sampler: str = "euler") -> torch.Tensor:
    """As two KSampler (Advanced): the second continues the latents of the first, without noise of its own."""
    sigmas = comfy.sigmas(STEPS)
    first = comfy.sample(high, sampler, sigmas=sigmas[: at + 1])
    return comfy.sample(low, sampler, sigmas=sigmas[at:], noise=torch.zeros_like(first), latent=first)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("name", EXACT)
def test_two_samplers_are_as_without_the_node(comfy: Host, name: str, sampler: str) -> None:
    high, low = comfy.model(), comfy.model()
    found = sample_parts(comfy, EXACT[name](high, comfy), EXACT[name](low, comfy), sampler=sampler)
    assert torch.equal(found, sample_parts(comfy, high, low, sampler=sampler))


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(
    "sigmas", [torch.tensor([0.5]), torch.tensor([0.0]), torch.zeros(2)], ids=["one level", "zero", "equal zeros"]
)
def test_a_part_without_steps_is_as_without_the_node(comfy: Host, name: str, sigmas: torch.Tensor) -> None:
    model, latent = comfy.model(), draw(tuple(comfy.noise.shape), 3)
    noise = torch.zeros_like(latent)
    node = EXACT[name](model, comfy)
    found = comfy.sample(node, sigmas=sigmas.clone(), noise=noise, latent=latent)
    expected = comfy.sample(model, sigmas=sigmas.clone(), noise=noise, latent=latent)
    assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0))
    assert describe_reports(collect_reports(node))


def test_each_part_is_propagated_from_its_own_first_step(comfy: Host) -> None:
    high, low = (propagate(comfy.model(), "every:2") for _ in range(2))
    calls = [comfy.count_calls(one) for one in (high, low)]
    found = sample_parts(comfy, high, low)
    keys = [collect_reports(one)[propagation.KEY]["keys"] for one in (high, low)]
    assert keys[0] == [0, 2, 4] and keys[1][0] == 0 and len(keys[1]) < 6
    assert [len(one) for one in calls] == [len(one) for one in keys]
    plain = sample_parts(comfy, comfy.model(), comfy.model())
    assert 0 < (found - plain).norm() / plain.norm() < 0.4


@pytest.mark.parametrize("name", EXACT)
def test_the_report_has_the_steps_of_the_sampler_before_it(comfy: Host, name: str) -> None:
    node = EXACT[name](comfy.model(), comfy)
    comfy.sample(node, steps=STEPS)
    reports = collect_reports(node)
    assert "part" not in next(iter(reports.values())) and not describe_reports(reports)[0].startswith("steps ")
    sigmas = comfy.sigmas(STEPS)
    for part, first, last in ((sigmas[:6], 1, 5), (sigmas[5:], 6, 12), (sigmas[5:9], 6, 8)):
        comfy.sample(node, sigmas=part, noise=torch.zeros_like(comfy.noise), latent=draw(tuple(comfy.noise.shape), 3))
        reports = collect_reports(node)
        assert next(iter(reports.values()))["part"] == {"first_step": first, "last_step": last, "of": STEPS}
        assert describe_reports(reports)[0].startswith(f"steps {first} to {last} of {STEPS}, by their noise levels")
    assert len(describe_reports(reports)) > 1


def test_a_schedule_that_begins_one_step_late_is_no_part(comfy: Host) -> None:
    """So does ddim_uniform."""
    assert not RunPart.find(FlowSampling(), torch.linspace(0.95, 0, 21)).is_partial  # type: ignore[arg-type]
    assert RunPart.find(FlowSampling(), torch.linspace(1, 0, 21)[:20]).is_partial  # type: ignore[arg-type]


def test_a_published_list_is_that_of_the_entire_run(comfy: Host) -> None:
    high, low = (propagate(comfy.model(), "fd") for _ in range(2))
    sample_parts(comfy, high, low)
    keys = [collect_reports(one)[propagation.KEY]["keys"] for one in (high, low)]
    entire = propagate(comfy.model(), "fd")
    comfy.sample(entire, steps=STEPS)
    of_run = collect_reports(entire)[propagation.KEY]["keys"]
    assert keys[0] == [step for step in of_run if step < 5]
    assert keys[1] == sorted({0, *(step - 5 for step in of_run if step >= 5)})


def test_a_part_is_that_of_the_run_s_own_shift(comfy: Host) -> None:
    """A node for the shift changes the model when it is loaded: until then it has the shift of the run before."""
    model = comfy.model()
    low, other = _shifted(propagate(model, "fd"), 1.0), _shifted(model, 12.0)
    sigmas, latent = torch.linspace(1, 0, 31)[12:], draw(tuple(comfy.noise.shape), 3)
    found = []
    for before in (None, other, low):
        if before is not None:
            comfy.sample(before, steps=1)
        noise = torch.zeros_like(latent)
        found.append(comfy.sample(low, sigmas=sigmas.clone(), noise=noise, latent=latent))
        assert collect_reports(low)[propagation.KEY]["keys"] == [0, 3, 9]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def _shifted(model: Any, shift: float) -> Any:
    """A clone with ComfyUI's sampling for another shift."""
    sampling = deepcopy(model.get_model_object("model_sampling"))
    sampling.set_parameters(shift=shift)
    clone = model.clone()
    clone.add_object_patch("model_sampling", sampling)
    return clone


@pytest.mark.parametrize("steps", [4, 8])
@pytest.mark.parametrize("split", [False, True], ids=["one sampler", "two samplers"])
def test_propagation_has_no_effect_on_few_steps_and_says_why(comfy: Host, steps: int, split: bool) -> None:
    model = comfy.model()
    cached, sigmas = propagate(model, "every:2"), comfy.sigmas(steps)
    sigmas = sigmas[: steps // 2 + 1] if split else sigmas
    assert torch.equal(comfy.sample(cached, sigmas=sigmas), comfy.sample(model, sigmas=sigmas))
    line = describe_reports(collect_reports(cached))[-1]
    assert f"no effect; a run of {steps} steps is too short: neighbouring steps differ too much" in line


@pytest.mark.parametrize(
    ("sigmas", "expected"),
    [
        pytest.param(torch.linspace(1, 0, 21), (20, 0, 20), id="an entire run"),
        pytest.param(torch.linspace(1, 0, 21)[:9], (8, 0, 20), id="the first sampler"),
        pytest.param(torch.linspace(1, 0, 21)[8:], (12, 8, 20), id="the last sampler"),
        pytest.param(torch.linspace(1, 0, 21)[8:12], (3, 8, 20), id="a sampler between"),
        pytest.param(torch.tensor([1.0, 0.97, 0.9, 0.6, 0.0]), (4, 0, 4), id="levels of a distilled model"),
        pytest.param(torch.tensor([0.5]), (0, 0, 0), id="one level"),
        pytest.param(torch.tensor([]), (0, 0, 0), id="no level"),
        pytest.param(torch.zeros(2), (0, 0, 0), id="equal zeros"),
        pytest.param(torch.tensor([0.5, 0.5]), (1, 499, 1000), id="equal levels"),
    ],
)
def test_the_part_of_a_run_is_estimated(sigmas: torch.Tensor, expected: tuple[int, int, int]) -> None:
    part = RunPart.find(FlowSampling(), sigmas)  # type: ignore[arg-type]
    assert (part.steps, part.total) == (expected[0], expected[2]) and abs(part.first - expected[1]) <= 1


def test_levels_of_a_model_that_predicts_noise() -> None:
    """Their sigmas are ratios of noise to signal, without an upper end at the beginning of a run."""
    sampling = SimpleNamespace(percent_to_sigma=lambda p: 1e9 if p <= 0 else 14.6 * (1 - p) ** 3)
    sigmas = [14.6 * (1 - step / 20) ** 3 for step in range(21)]
    assert RunPart.find(sampling, sigmas) == RunPart(20, 0, 20)
    assert RunPart.find(sampling, sigmas[7:]) == RunPart(13, 7, 20)
