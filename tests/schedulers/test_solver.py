"""Solver interface: diffusers' schedulers behind it, and a custom solver as one file and one table row."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from videogen import Engine, UnsupportedError
from videogen.schedulers import (
    SOLVERS,
    AddressedNoise,
    LevelSolver,
    NoiseSchedule,
    Solver,
    SolverRow,
    build_solver,
    solver_names,
)
from videogen.schedulers.diffusers_scheduler import build_scheduler
from videogen.schedulers.diffusers_solver import as_solver, read_noise_schedule
from videogen.schedulers.levels import NoiseLevel
from videogen.schedulers.parametrization import KINDS

OWN = {
    "epsilon": DDIMScheduler(clip_sample=False),
    "v_prediction": DDIMScheduler(prediction_type="v_prediction", clip_sample=False),
    "sample": DDIMScheduler(prediction_type="sample", clip_sample=False),
    "flow": FlowMatchEulerDiscreteScheduler(shift=3.0),
}
ROWS = [(kind, name) for kind in KINDS for name in solver_names(kind)]
STRAIGHT = '''
"""Straight solver: a step of DDIM's form between two noise levels."""

from videogen.schedulers import LevelSolver


class StraightSolver(LevelSolver):
    def advance(self, clean, noise, now, after, fresh):
        return after.alpha * clean + after.sigma * noise


class RenoisingSolver(LevelSolver):
    stochastic = True

    def advance(self, clean, noise, now, after, fresh):
        return after.alpha * clean + after.sigma * fresh
'''


@pytest.fixture
def custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One module, with a table row for each of its solvers."""
    (tmp_path / "my_solvers").mkdir()
    (tmp_path / "my_solvers" / "straight.py").write_text(STRAIGHT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(SOLVERS, "straight", SolverRow("DDIM's step", home="my_solvers.straight:StraightSolver"))
    monkeypatch.setitem(SOLVERS, "renoise", SolverRow("fresh noise", home="my_solvers.straight:RenoisingSolver"))
    yield
    for name in ("my_solvers", "my_solvers.straight"):
        sys.modules.pop(name, None)


def run(solver: Solver, sources: list[Any], clean: torch.Tensor) -> torch.Tensor:
    """Sample with a model that knows the clean latents."""
    from videogen.schedulers.parametrization import prediction_for

    levels = solver.levels
    assert levels is not None
    latents = sources[0].frames(range(clean.shape[2]), (clean.shape[1], *clean.shape[3:])) * solver.initial_scale
    for index in range(len(solver.timesteps)):
        model_input = solver.scale_input(latents, index)
        latents = solver.step(prediction_for(model_input, clean, levels[index], solver.kind), index, latents, sources)
    return latents


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_the_adapter_describes_the_run(kind: str, name: str) -> None:
    solver = build_solver(name, OWN[kind], 6)
    calls = len(solver.timesteps)
    assert solver.kind == kind and solver.is_set and solver.train_steps == 1000
    assert solver.timesteps is solver.timesteps, "a new tensor would be taken for a new run"
    assert solver.levels is not None and len(solver.levels) == calls + 1
    steps = sum(solver.begins_step(index) for index in range(calls))
    assert steps == 6 and (solver.calls_per_step > 1) == (calls > steps)
    clean, noise = torch.full((2, 1, 1, 1, 1), 3.0), torch.full((2, 1, 1, 1, 1), 5.0)
    level, scale = solver.levels[2], solver.scale_input(torch.ones(1), 2)
    torch.testing.assert_close(
        solver.noised(clean, noise, 2) * scale, level.alpha * clean + level.sigma * noise, atol=0.05, rtol=0.02
    )
    assert torch.equal(solver.noised(clean, noise, calls), clean)


#: model calls of 6 steps, whether a step adds noise, whether sampling may begin late, whether the plan has sigmas
KNOWN = {
    "ddim": (6, False, True, False),
    "ddpm": (6, True, True, False),
    "pndm": (7, False, False, False),
    "euler": (6, False, True, True),
    "euler-a": (6, True, True, True),
    "heun": (11, False, True, True),
    "dpm++2m": (6, False, True, True),
    "dpm++2m-sde": (6, True, True, True),
    "unipc": (6, False, True, True),
    "deis": (6, False, True, True),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_solvers_are_described_correctly(name: str) -> None:
    solver = build_solver(name, OWN["epsilon"], 6)
    found = (len(solver.timesteps), solver.stochastic, solver.can_begin_late, solver.sigma(0) is not None)
    assert found == KNOWN[name]


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_a_copy_continues_from_the_same_history(kind: str, name: str) -> None:
    solver, sources = build_solver(name, OWN[kind], 5), [AddressedNoise(1), AddressedNoise(2)]
    latents = torch.ones(2, 4, 3, 2, 2)
    for index in range(2):
        latents = solver.step(0.3 * latents, index, latents, sources)
    after = []
    for each in (solver.copy(), solver, solver.copy()):
        if each is solver:
            first = each.step(0.1 * latents, 2, latents, sources)
            each.step(0.2 * first, 3, first, sources)
        else:
            after.append(each)
    continued = after[0].step(0.1 * latents, 2, latents, sources)
    assert torch.equal(continued, first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_custom_solver_takes_one_file_and_one_row(kind: str, custom: None) -> None:
    """The straight solver is DDIM's step, so it ends at the clean latents known to the model; with fresh noise too."""
    clean = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    for name in ("straight", "renoise"):
        solver = build_solver(name, OWN[kind], 8)
        assert solver.name.endswith("Solver") and name in solver_names(kind)
        torch.testing.assert_close(run(solver, [AddressedNoise(1)], clean), clean, atol=1e-4, rtol=1e-4)
    assert build_solver("renoise", OWN[kind], 8).stochastic


def test_sigmas_shifted_by_the_clips_size_are_refused(custom: None) -> None:
    own = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    for name in ("straight", "euler", None):
        with pytest.raises(UnsupportedError, match="use_dynamic_shifting"):
            build_solver(name, own, 4)


def test_another_spacing_takes_one_method() -> None:
    class Early(LevelSolver):
        def space_steps(self, schedule: NoiseSchedule, steps: int) -> tuple[list[float], list[NoiseLevel]]:
            sigmas = [(1 - step / steps) ** 2 for step in range(steps)]
            return [1000 * sigma for sigma in sigmas], [NoiseLevel(1 - s, s) for s in [*sigmas, 0.0]]

        def advance(
            self, clean: torch.Tensor, noise: torch.Tensor, now: NoiseLevel, after: NoiseLevel, fresh: Any
        ) -> torch.Tensor:
            return after.alpha * clean + after.sigma * noise

    solver = Early(NoiseSchedule("flow", 1000), 5, torch.device("cpu"))
    assert [round(solver.sigma(index), 2) for index in range(5)] == [1.0, 0.64, 0.36, 0.16, 0.04]
    clean = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(run(solver, [AddressedNoise(1)], clean), clean, atol=1e-4, rtol=1e-4)


def test_fresh_noise_depends_on_its_frame(custom: None) -> None:
    def stepped(frames: int) -> torch.Tensor:
        ones = torch.ones(2, 4, frames, 2, 3)
        return build_solver("renoise", OWN["epsilon"], 4).step(ones, 0, ones, [AddressedNoise(7), AddressedNoise(8)])

    assert torch.equal(stepped(3), stepped(5)[:, :, :3])


@pytest.mark.parametrize("model", ["embedded", "embedded-unet"])
@pytest.mark.parametrize("propagate", ["off", "every:2"])
def test_a_custom_solver_renders(model: str, propagate: str, custom: None) -> None:
    """By name, through the engine, with propagation too, close to the diffusers solver of the same form."""
    engine = Engine.load(model, device="cpu")
    options: dict[str, Any] = {"frames": 9, "size": (64, 64), "steps": 10, "seed": 1, "propagate": propagate}
    reference = "euler" if model == "embedded" else "ddim"
    ours, theirs = (
        engine.generate("a red ball moves right", solver=solver, **options) for solver in ("straight", reference)
    )
    assert ours.frames.std() > 10
    if model == "embedded" and propagate == "off":  # AnimateDiff's DDIM spaces its timesteps differently
        assert abs(ours.frames.astype(float) - theirs.frames.astype(float)).mean() < 1
    assert (ours.manifest or {})["request"]["solver"] == "straight"


def test_a_custom_solver_is_not_a_diffusers_scheduler(custom: None) -> None:
    with pytest.raises(UnsupportedError, match="is not a diffusers scheduler"):
        build_scheduler("straight", OWN["flow"])


def test_a_row_may_support_only_some_prediction_types(monkeypatch: pytest.MonkeyPatch, custom: None) -> None:
    row = SolverRow("for flow models", home="my_solvers.straight:StraightSolver", kinds=("flow",))
    monkeypatch.setitem(SOLVERS, "straight", row)
    assert "straight" in solver_names("flow") and "straight" not in solver_names("epsilon")
    with pytest.raises(UnsupportedError, match="use one of ddim"):
        build_solver("straight", OWN["epsilon"], 4)


def test_a_scheduler_is_set_once_it_has_timesteps() -> None:
    assert not as_solver(DDIMScheduler()).is_set and build_solver(None, OWN["epsilon"], 3).is_set
    solver = build_solver("ddim", OWN["epsilon"], 3)
    assert as_solver(solver) is solver


def test_the_schedule_runs_from_full_noise() -> None:
    timesteps, levels = read_noise_schedule(OWN["flow"]).spaced(4)
    assert timesteps[0] == 1000 and [round(level.sigma, 4) for level in levels] == [1.0, 0.9, 0.75, 0.5, 0.0]
    timesteps, levels = read_noise_schedule(OWN["epsilon"]).spaced(4)
    assert timesteps == [999, 749, 499, 249] and levels[-1].sigma == 0
