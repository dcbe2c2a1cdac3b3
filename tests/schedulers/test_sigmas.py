"""Noise levels, steps and solvers of samplers that are given by their sigmas and their name."""

from __future__ import annotations

import pytest
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from videogen.core.errors import InputError
from videogen.schedulers import (
    SAMPLERS,
    NoiseLevel,
    find_sampler,
    levels_from_sigmas,
    solver_of_sampler,
    step_at,
)
from videogen.schedulers.diffusers_solver import as_solver


@pytest.mark.parametrize(
    ("scheduler", "kind"),
    [(FlowMatchEulerDiscreteScheduler(shift=3.0), "flow"), (EulerDiscreteScheduler(), "epsilon")],
    ids=["flow", "ratio of noise to signal"],
)
def test_levels_are_those_of_the_solver_with_these_sigmas(scheduler: object, kind: str) -> None:
    scheduler.set_timesteps(7)  # type: ignore[attr-defined]
    sigmas = [float(sigma) for sigma in scheduler.sigmas]  # type: ignore[attr-defined]
    levels = levels_from_sigmas(sigmas, kind)
    assert levels == as_solver(scheduler).levels and levels[-1] == NoiseLevel(1.0, 0.0)


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([], "have no step"),
        ([1.0], "have no step"),
        ([1.0, float("nan"), 0.0], "must be numbers"),
        ([0.2, 0.5, 0.0], "must fall"),
        ([14.6, 1.0, 0.0], "of a flow model must be from 0 to 1"),
    ],
    ids=["empty", "one", "not a number", "rising", "of another kind of model"],
)
def test_bad_sigmas_are_refused(sigmas: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        levels_from_sigmas(sigmas, "flow")


@pytest.mark.parametrize(
    ("sigma", "step"),
    [(1.0, 0), (0.7, 1), (0.7 - 1e-8, 1), (0.6, 1), (0.3, 2), (0.1, 2), (0.0, 2), (2.0, 0)],
    ids=["first", "second", "rounded", "within a step", "third", "within the last", "the end", "above all"],
)
def test_a_call_is_of_the_step_that_its_level_is_in(sigma: float, step: int) -> None:
    assert step_at([1.0, 0.7, 0.3, 0.0], sigma) == step


@pytest.mark.parametrize("sigmas", [[0.0, 0.0], []], ids=["two equal zeros", "none"])
def test_a_sampler_without_steps_has_step_0(sigmas: list[float]) -> None:
    assert step_at(sigmas, 0.0) == 0


@pytest.mark.parametrize(
    ("name", "kind", "solver"),
    [
        ("euler", "flow", "FlowMatchEulerDiscreteScheduler"),
        ("sample_euler", "epsilon", "EulerDiscreteScheduler"),
        ("uni_pc", "flow", "UniPCMultistepScheduler"),
        ("sample_unipc", "flow", "UniPCMultistepScheduler"),
        ("uni_pc_bh2", "v_prediction", "UniPCMultistepScheduler"),
        ("dpmpp_2m", "flow", "DPMSolverMultistepScheduler"),
        ("deis", "flow", "FlowDEISScheduler"),
        ("ddim", "epsilon", "DDIMScheduler"),
        ("res_multistep", "flow", "res_multistep"),
        ("sample_dpmpp_3m_sde_gpu", "flow", "dpmpp_3m_sde"),
    ],
)
def test_a_sampler_shares_the_calibration_of_its_solver(name: str, kind: str, solver: str) -> None:
    assert solver_of_sampler(name, kind) == solver


def test_what_is_known_of_samplers() -> None:
    assert all(find_sampler(name) is row for name, row in SAMPLERS.items())
    assert not find_sampler("heun").single_call and find_sampler("euler_ancestral").stochastic
    with pytest.raises(InputError, match="did you mean 'euler'"):
        find_sampler("eulr")
