"""A propagated run in a host without any library: exact where each step is a key step, and cheaper otherwise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from tests.attention.models import Tiny
from tests.propagation import toy_host
from tests.propagation.models import STEPS, TRANSFORMERS, Timesteps, inputs_at
from tests.propagation.toy_host import BLOCKS, TEXT, Denoiser, Host, sample, sample_plain, sigmas
from videogen.core.errors import InputError, UnsupportedError
from videogen.propagation import PropagationRun, RunSchedule, StepCaching, attach
from videogen.propagation.attached_block_cut import build_block_cut
from videogen.propagation.calibration import error_factor, is_calibrated, why_not_calibrated
from videogen.propagation.run_schedule import read_schedule
from videogen.schedulers.diffusers_solver import as_solver

CUTS = {"output": "output", "blocks": "blocks:1,1", "probe": "blocks:1,1"}
LEVELS, LATENTS = sigmas(), toy_host.start()


def schedule(steps: int = 12, sampler: str = "euler") -> RunSchedule:
    return RunSchedule.from_sigmas(sigmas(steps), "flow", sampler)


def config(keys: str, cut: str) -> StepCaching:
    return StepCaching(keys=keys, boundary=CUTS[cut], predictor="probe" if cut == "probe" else "auto")


def host(keys: str, cut: str, **options: Any) -> Host:
    return Host(PropagationRun(config(keys, cut), schedule(), blocks=BLOCKS), Denoiser(**options))


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("cut", CUTS)
def test_with_key_steps_only_the_loop_is_bit_identical(cut: str) -> None:
    found = host("every:1", cut)
    assert torch.equal(sample(found.call, LEVELS), sample_plain(LEVELS))
    assert found.run.report()["evaluated"] == "12 of 12 steps" and found.run.report()["forced"] == {}


@pytest.mark.parametrize(("cut", "calls"), [("output", [12] * 6), ("blocks", [24, 12, 12, 12, 12, 24])])
def test_between_key_steps_only_the_ends_run_and_the_result_is_near(cut: str, calls: list[int]) -> None:
    found = host("every:2", cut)
    result = sample(found.call, LEVELS)
    assert found.model.calls == calls and found.run.report()["keys"] == [0, 2, 4, 6, 8, 10]
    assert 0 < relative(result, sample_plain(LEVELS)) < 0.1


@pytest.mark.parametrize("cut", CUTS)
def test_a_host_may_write_into_what_it_has_handed_on(cut: str) -> None:
    writing = host("every:3", cut, writes=True)
    assert torch.equal(sample(writing.call, LEVELS, writes=True), sample(host("every:3", cut).call, LEVELS))


def test_deciding_first_is_the_same_as_calling() -> None:
    run, model = PropagationRun("every:2", schedule()), Denoiser()
    is_key_step: list[bool] = []

    def call(step: int, branch: str, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        decision = run.decide(
            step, branch, latents, lambda: model(latents, sigma, TEXT[branch]), guidance_scale=toy_host.GUIDANCE
        )
        is_key_step.append(decision.is_key_step)
        output: torch.Tensor = run.evaluate(decision) if decision.is_key_step else run.propagate(decision)
        return output

    assert torch.equal(sample(call, LEVELS), sample(host("every:2", "output").call, LEVELS))
    assert is_key_step == [True, True, False, False] * 6


@pytest.mark.parametrize("cut", CUTS)
def test_another_condition_is_a_key_step(cut: str) -> None:
    found = host("every:6", cut)

    def call(step: int, branch: str, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        if step == 3:
            found.text = {name: -text for name, text in TEXT.items()}
        return found.call(step, branch, latents, sigma)

    sample(call, LEVELS)
    assert found.run.report()["keys"] == [0, 3, 6] and found.run.report()["forced"] == {"3": "a condition changed"}


@pytest.mark.parametrize("cut", CUTS)
def test_a_second_run_and_a_snapshot_start_from_what_they_should(cut: str) -> None:
    found = host("every:3", cut)
    first, report = sample(found.call, LEVELS), found.run.report()
    assert torch.equal(sample(found.call, LEVELS), first)  # step 0 begins another run
    assert found.run.report()["keys"] == report["keys"] and found.run.report()["steps"] == 12
    latents = toy_host.start()
    for step in (0, 1):
        found.call(step, "cond", latents + step, LEVELS[step])
    before = found.run.snapshot()
    expected = [found.call(step, "cond", latents + step, LEVELS[step]) for step in (2, 3, 4)]
    found.run.restore(before)
    again = [found.call(step, "cond", latents + step, LEVELS[step]) for step in (2, 3, 4)]
    assert all(map(torch.equal, expected, again))


def test_a_promise_is_taken_where_it_was_calibrated() -> None:
    levels = sigmas(50)
    run = PropagationRun("max_error:0.05", schedule(50, "uni_pc"), calibrated_as="embedded")
    result, report = sample(Host(run).call, levels), run.report()
    assert report["calibrated"] is True and report["within_promise"] is True and len(report["keys"]) < 40
    assert relative(result, sample_plain(levels)) <= 0.05


@pytest.mark.parametrize(
    ("options", "sampler", "steps", "why"),
    [
        ({}, "uni_pc", 50, "not calibrated for UniPCMultistepScheduler at 50 steps on this model"),
        ({"calibrated_as": "embedded"}, "euler", 50, r"FlowMatchEulerDiscreteScheduler at 50 steps on 'embedded'"),
        ({"calibrated_as": "embedded"}, "uni_pc", 20, r"calibrated: UniPCMultistepScheduler at 50 steps\)"),
        ({"calibrated_as": "embedded"}, "res_multistep", 50, "res_multistep at 50 steps"),
    ],
    ids=["another model", "another solver", "fewer steps", "a sampler without a solver"],
)
def test_a_promise_without_calibration_is_refused_with_what_to_use(
    options: dict[str, Any], sampler: str, steps: int, why: str
) -> None:
    with pytest.raises(UnsupportedError, match=why) as caught:
        PropagationRun("max_error:0.05", schedule(steps, sampler), **options)
    assert "use every:N, such as every:2" in str(caught.value)


REFUSED: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("two calls per step", lambda: schedule(sampler="heun"), UnsupportedError, "'heun' calls the model several times"),
    ("an unknown sampler", lambda: schedule(sampler="dream"), UnsupportedError, "'dream' is unknown"),
    ("an unknown kind", lambda: RunSchedule.from_sigmas(LEVELS, "velocity", "euler"), InputError, "'velocity'"),
    ("a UNet's cut", lambda: PropagationRun("fd", schedule()), UnsupportedError, "output or blocks:1,1"),
    ("off", lambda: PropagationRun("off", schedule()), InputError, "nothing attached"),
    ("unknown blocks", lambda: PropagationRun(config("every:2", "blocks"), schedule()), InputError, "blocks=N"),
    (
        "too few blocks",
        lambda: PropagationRun(config("every:2", "blocks"), schedule(), blocks=2),
        InputError,
        "leaves nothing of 2 blocks",
    ),
    (
        "frames",
        lambda: PropagationRun(StepCaching(keys="every:2", frames=2), schedule()),
        UnsupportedError,
        "frames=2",
    ),
    ("no schedule", lambda: Host(PropagationRun("every:2")).run.call(0, "", LATENTS, float), InputError, "begin"),
    (
        "beyond",
        lambda: PropagationRun("every:2", schedule()).call(12, "cond", LATENTS, float),
        InputError,
        "steps are 0 to 11",
    ),
]


@pytest.mark.parametrize(("call", "error", "match"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("boundary", ["output", "blocks:1,0"])
def test_diffusers_is_a_host_of_the_same_run(boundary: str) -> None:
    tiny: Tiny = TRANSFORMERS[0]
    settings, scheduler = StepCaching(keys="every:2", boundary=boundary), Timesteps()
    with torch.inference_mode():
        with attach(tiny.build(), settings, scheduler=scheduler) as handle:
            attached = [handle._models[0]._model(**inputs_at(tiny, step))[0] for step in range(STEPS)]
        model = tiny.build()
        cut = None if boundary == "output" else build_block_cut(model, (1, 0), settings.predictor_kind)
        run = PropagationRun(settings, read_schedule(as_solver(scheduler), False), cut)
        for step in range(STEPS):
            given = inputs_at(tiny, step)
            found = run.call(step, "0", given["hidden_states"], partial(model, **given))
            assert torch.equal(found[0], attached[step])
        assert run.report()["keys"] == [0, 2, 4]


def test_the_nearest_calibration_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"factor": 2.0, "solver": "euler", "steps": 20}, {"factor": 3.0, "solver": "euler", "steps": 50}]
    monkeypatch.setattr("videogen.propagation.calibration._table", lambda: {"output": {"model": rows}})
    assert error_factor("output", "model", "euler", 20) == 2.0 and error_factor("output", "model", "euler", 48) > 3.0
    assert error_factor("output", "model", "euler", 10) == 8.0  # half of the steps, each twice as long
    assert error_factor("output", "other", "euler", 50) == 2 * 3.0  # doubled, as it is not this model's
    assert is_calibrated("output", "model", "euler", 22) and not is_calibrated("output", "model", "euler", 30)
    assert "euler at 20 steps, euler at 50 steps" in why_not_calibrated("output", "model", "unipc", 20)
