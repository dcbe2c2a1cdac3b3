"""Step schedule of one run: its timesteps, noise levels and kind of prediction, as propagation needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from videogen.core.errors import UnsupportedError, unknown
from videogen.schedulers.levels import NoiseLevel, levels_from_sigmas
from videogen.schedulers.parametrization import KINDS
from videogen.schedulers.samplers import SAMPLERS, sampler_name, solver_of_sampler
from videogen.schedulers.solver import Solver


@dataclass(frozen=True)
class RunSchedule:
    """The schedule of one run; None where something is not known.

    timesteps: [steps], from the first that is run. levels: the noise before each step and after the last. kind: of the
    prediction. by_sigma: features are extrapolated in sigma instead of the log signal-to-noise ratio. all_timesteps:
    the solver's tensor, which is a new object in each run.
    """

    timesteps: torch.Tensor | None
    levels: list[NoiseLevel] | None
    kind: str
    by_sigma: bool = False
    all_timesteps: torch.Tensor | None = None
    solver: str = ""
    stochastic: bool = False

    @classmethod
    def from_sigmas(cls, sigmas: Sequence[float] | torch.Tensor, kind: str, sampler: str) -> RunSchedule:
        """The schedule of a sampler that is given as its sigmas [steps + 1], falling, in a host without solvers.

        kind: of the model's prediction, one of `KINDS`: `flow` for sigmas from 0 to 1, others for ratios of noise to
        signal. sampler: its name in `SAMPLERS`. The timesteps are the sigmas, so a host may give either of them, or
        count steps by `step_at`. Raises InputError; UnsupportedError for a sampler that is not known to call the model
        once per step, at these sigmas.
        """
        if kind not in KINDS:
            raise unknown("kind of prediction", kind, KINDS)
        name = sampler_name(sampler)
        if name not in SAMPLERS or not SAMPLERS[name].single_call:
            how = "calls the model several times in some steps" if name in SAMPLERS else "is unknown"
            single = ", ".join(known for known, row in SAMPLERS.items() if row.single_call)
            raise UnsupportedError(
                f"sampler {name!r} {how}, and propagation must not split a step; use one of {single}"
            )
        values = [float(sigma) for sigma in sigmas]
        return cls(
            timesteps=torch.tensor(values[:-1], dtype=torch.float64),
            levels=levels_from_sigmas(values, kind),
            kind=kind,
            solver=solver_of_sampler(name, kind),
            stochastic=SAMPLERS[name].stochastic,
        )

    @property
    def steps(self) -> int | None:
        return None if self.timesteps is None else len(self.timesteps)

    def position(self, step: int, timestep: float) -> float:
        """The coordinate of a step in which features are extrapolated: log SNR or sigma, or the timestep if neither is
        known."""
        if self.levels is None:
            return -timestep
        level = self.levels[step]
        return -level.sigma / (level.sigma + level.alpha) if self.by_sigma else level.log_snr

    def find_step(self, timestep: float) -> int | None:
        """The step with this timestep; None if there is none."""
        if self.timesteps is None:
            return None
        gaps = (self.timesteps.double() - timestep).abs()
        nearest = int(gaps.argmin())
        return nearest if float(gaps[nearest]) <= 1e-3 * max(1.0, abs(timestep)) else None


def read_schedule(solver: Solver | None, by_sigma: bool, first: float | None = None) -> RunSchedule:
    """The schedule of a solver, from the timestep `first` on. UnsupportedError if it calls the model twice per step."""
    if solver is None or not solver.is_set:
        return RunSchedule(None, None, "epsilon", by_sigma)
    if solver.calls_per_step > 1:
        raise UnsupportedError(
            f"{solver.name} calls the model twice in some steps, which propagation must not split; use a solver such "
            "as unipc"
        )
    levels = solver.levels
    if levels is not None and any(level.alpha < 0 for level in levels):
        levels = None  # flow sigmas above 1: the pipeline scales latents and predictions by a formula of its own
    full = RunSchedule(
        timesteps=solver.timesteps,
        levels=levels,
        kind=solver.kind,
        by_sigma=by_sigma,
        all_timesteps=solver.timesteps,
        solver=solver.name,
        stochastic=solver.stochastic,
    )
    begin = 0 if first is None else full.find_step(first) or 0
    levels = None if full.levels is None else full.levels[begin:]
    return replace(full, timesteps=solver.timesteps[begin:], levels=levels)
