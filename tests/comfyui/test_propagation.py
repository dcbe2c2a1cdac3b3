"""Propagation on a native model: exact if each step is a key step, fewer calls otherwise, plain with a reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.comfyui.hosts import Host
from videogen.comfyui.embedded.native_wan import CALIBRATED_NAME
from videogen.comfyui.hooks.model_runs import DIFFUSION_MODEL, RunContext, find_opener, with_runs
from videogen.comfyui.native.propagation import CALIBRATED_AS, KEY, PropagatedRun, read_rule
from videogen.comfyui.reports.reports import NOTHING, collect_reports, describe_reports
from videogen.core.errors import InputError

STEPS = 10


def attach(model: Any, rule: str) -> Any:
    return with_runs(model, KEY, lambda context: PropagatedRun(context, read_rule(rule)))


@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
def test_it_is_exact_where_each_step_is_a_key_step(comfy: Host, batched: bool) -> None:
    model = comfy.model()
    found = comfy.sample(attach(model, "every:1"), steps=STEPS, batched=batched)
    assert torch.equal(found, comfy.sample(model, steps=STEPS, batched=batched))


@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "two calls"])
def test_it_calls_the_model_at_key_steps_only(comfy: Host, batched: bool) -> None:
    model = comfy.model()
    plain, calls, half = comfy.sample(model, steps=STEPS), comfy.count_calls(model), attach(model, "every:2")
    found = comfy.sample(half, steps=STEPS, batched=batched)
    report = collect_reports(half)[KEY]
    assert len(calls) == len(report["keys"]) * (1 if batched else 2) and len(report["keys"]) < 7
    assert 0 < (found - plain).norm() / plain.norm() < 0.4
    (line,) = describe_reports({KEY: report})
    assert line.startswith(f"propagation: {len(report['keys'])} of {STEPS} steps were key steps; ") and "saved" in line
    assert torch.equal(comfy.sample(half, steps=STEPS, batched=batched), found)
    assert torch.equal(comfy.sample(model, steps=STEPS), plain)


def test_a_sampler_with_two_calls_per_step_runs_plain_with_the_reason(comfy: Host) -> None:
    model = comfy.model()
    cached = attach(model, "every:2")
    assert torch.equal(comfy.sample(cached, "heun"), comfy.sample(model, "heun"))
    (line,) = describe_reports(collect_reports(cached))
    assert line.startswith("propagation: no effect; sampler 'heun' calls the model several times")


def test_an_interrupted_run_leaves_nothing_behind(comfy: Host) -> None:
    model = comfy.model()
    plain, half = comfy.sample(model, steps=STEPS), attach(model, "every:2")
    expected = comfy.sample(half, steps=STEPS)
    with pytest.raises(KeyboardInterrupt):
        comfy.sample(half, steps=STEPS, interrupted=True)
    opener = find_opener(half, KEY)
    assert opener is not None and len(opener.reports) == 1  # of the run before
    assert not half.get_wrappers(DIFFUSION_MODEL, KEY) and not model.get_wrappers(DIFFUSION_MODEL, KEY)
    assert torch.equal(comfy.sample(half, steps=STEPS), expected)
    assert torch.equal(comfy.sample(model, steps=STEPS), plain)


def test_a_model_without_nodes_has_no_report(comfy: Host) -> None:
    model = comfy.model()
    assert describe_reports(collect_reports(model)) == [NOTHING]
    assert describe_reports(collect_reports(attach(model, "every:2"))) == [NOTHING]
    assert find_opener(model, KEY) is None


def test_an_error_bound_holds_on_a_calibrated_model(comfy: Host) -> None:
    model = comfy.model()
    setattr(model.model, CALIBRATED_AS, CALIBRATED_NAME)
    plain, bounded = comfy.sample(model, steps=20), attach(model, "max_error:0.1")
    found = comfy.sample(bounded, steps=20)
    report = collect_reports(bounded)[KEY]
    assert report["calibrated"] and report["within_promise"] and len(report["keys"]) < 20
    assert 0 < (found - plain).norm() / plain.norm() < 0.1


def test_without_a_calibration_an_error_bound_runs_plain_with_the_reason(comfy: Host) -> None:
    model = comfy.model()
    bounded = attach(model, "max_error:0.1")
    assert torch.equal(comfy.sample(bounded, steps=STEPS), comfy.sample(model, steps=STEPS))
    (line,) = describe_reports(collect_reports(bounded))
    assert "max_error is not calibrated for this model" in line and "every:2" in line


@pytest.mark.parametrize(("sampler", "steps"), [("lcm", 20), ("euler", 10)])
def test_the_samplers_of_a_calibration_are_named_as_comfyui_names_them(comfy: Host, sampler: str, steps: int) -> None:
    sampling = SimpleNamespace(percent_to_sigma=lambda percent: 1 - percent)
    model = SimpleNamespace(model_type=SimpleNamespace(name="FLOW"), diffusion_model=None)
    setattr(model, CALIBRATED_AS, CALIBRATED_NAME)
    patcher = SimpleNamespace(model=model, patches={}, get_model_object=lambda name: sampling)
    function = SimpleNamespace(sampler_function=SimpleNamespace(__name__=f"sample_{sampler}"))
    context = RunContext(SimpleNamespace(model_patcher=patcher), function, comfy.sigmas(steps))
    assert PropagatedRun(context, read_rule("max_error:0.1")).declined == (
        f"max_error is not calibrated for the sampler {sampler} at {steps} steps; use euler, uni_pc, dpmpp_2m or "
        "res_multistep at 20 or 30 steps, or every:N, such as every:2"
    )


def test_a_lora_makes_the_calibration_void(comfy: Host) -> None:
    bounded = attach(comfy.model(), "max_error:0.1")
    setattr(bounded.model, CALIBRATED_AS, CALIBRATED_NAME)
    bounded.patches = {"diffusion_model.patch_embedding.bias": [(0.0, (torch.zeros(1),), 1.0, None, None)]}
    comfy.sample(bounded, steps=20)
    assert "not calibrated" in describe_reports(collect_reports(bounded))[0]


@pytest.mark.parametrize("rule", ["every:0", "max_error:2", "max_error:much", "max_error", "sometimes", "off", "1,2"])
def test_wrong_rules_are_refused_with_what_to_give(rule: str) -> None:
    with pytest.raises(InputError, match="such as"):
        read_rule(rule)


@pytest.mark.parametrize("rule", ["x" * 5000, "every:" + "9" * 5000, "1" + ",2" * 5000, "1" * 5000, "max_error" * 500])
def test_refusals_are_short(rule: str) -> None:
    with pytest.raises(InputError, match="…") as refused:
        read_rule(rule)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("steps", [10_001, 10**12])
def test_an_interval_is_not_longer_than_any_run(steps: int) -> None:
    with pytest.raises(InputError, match=rf"rule='every:{steps}' is longer than any run.* such as"):
        read_rule(f"every:{steps}")
    assert read_rule("every:10000").keys == "every:10000"


def test_rules_are_read() -> None:
    assert read_rule("max_error:0.05").max_error == 0.05 and read_rule("every:3").keys == "every:3"
    assert read_rule("0, 1,2,5").keys == (0, 1, 2, 5)


def test_the_node_checks_its_rule_before_the_run_and_in_it(comfy: Host) -> None:
    node, model = comfy.load_nodes("propagation").Propagation, comfy.model()
    with pytest.raises(ValueError, match="every:0"):
        node.execute(model, "every:0")
    assert node.validate_inputs(rule=None) is True and "every:0" in str(node.validate_inputs(rule="every:0"))
    assert node.validate_inputs(rule="max_error:0.05") is True
    (cached,) = node.execute(model, "every:2").result
    comfy.sample(cached, steps=STEPS)
    assert len(collect_reports(cached)[KEY]["keys"]) < STEPS
