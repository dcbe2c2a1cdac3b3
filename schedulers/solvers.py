"""Solvers by name: the table of diffusers' schedulers and of our own solvers, by the predictions that they fit.

A name means the same method for every model: `unipc` is UniPC on noise or velocity for a UNet, and UniPC on flow
sigmas for a flow-matching DiT. A solver of our own is one file with a `LevelSolver` and one row here, whose `home`
names it (docs/extending/solver.md). Importing this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from videogen.core.errors import UnsupportedError, unknown
from videogen.core.lazy import load_object

from .parametrization import FLOW, KINDS

if TYPE_CHECKING:
    import torch

    from .solver import NoiseSchedule, Solver


@dataclass(frozen=True)
class SolverRow:
    """A row of the table.

    vp, flow: diffusers classes of the method for variance-preserving and for flow models (None: there is none), by name
    or as `package.module:Class`, and settings: their arguments. Or home: the `LevelSolver`, as `module:Class` of this
    package or `package.module:Class`. kinds: the predictions that it fits; zero_snr: whether it can begin at a level
    without any signal.
    """

    description: str
    vp: str | None = None
    flow: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    home: str | None = None
    kinds: tuple[str, ...] = KINDS
    zero_snr: bool = True

    def diffusers_class(self, kind: str) -> str | None:
        """Name of the diffusers class for this kind of prediction; None where there is none."""
        return self.flow if kind == FLOW else self.vp

    def fits(self, kind: str, *, zero_snr: bool = False) -> bool:
        """Whether the solver can sample a model with this kind of prediction, trained down to zero SNR or not."""
        known = self.home is not None or self.diffusers_class(kind) is not None
        return known and kind in self.kinds and (self.zero_snr or not zero_snr)


SOLVERS: dict[str, SolverRow] = {
    "ddim": SolverRow("deterministic, the field's reference", vp="DDIMScheduler"),
    "ddpm": SolverRow("ancestral, needs many steps", vp="DDPMScheduler"),
    "pndm": SolverRow(
        "pseudo linear multistep",
        vp="PNDMScheduler",
        settings={"skip_prk_steps": True, "timestep_spacing": "leading"},  # it takes its steps to be of equal length
        kinds=("epsilon",),  # its class averages predictions of several levels, which for v have different meanings
        zero_snr=False,
    ),
    "euler": SolverRow("first order, robust", vp="EulerDiscreteScheduler", flow="FlowMatchEulerDiscreteScheduler"),
    "euler-simple": SolverRow(
        "Euler at even noise levels, for distilled flow models",
        flow="videogen.schedulers.flow_euler:FlowMatchSimpleEulerScheduler",
    ),
    "euler-a": SolverRow(
        "ancestral Euler: adds noise at each step",
        vp="EulerAncestralDiscreteScheduler",
        kinds=("epsilon", "v_prediction"),
    ),
    "heun": SolverRow(
        "second order, two model calls per step",
        vp="HeunDiscreteScheduler",
        flow="FlowMatchHeunDiscreteScheduler",
        zero_snr=False,  # a step of second order from there is far off
    ),
    "dpm++2m": SolverRow(
        "second-order multistep, good from 15 steps",
        vp="DPMSolverMultistepScheduler",
        flow="DPMSolverMultistepScheduler",
        settings={"algorithm_type": "dpmsolver++", "solver_order": 2},
    ),
    "dpm++2m-sde": SolverRow(
        "its stochastic variant",
        vp="DPMSolverMultistepScheduler",
        flow="DPMSolverMultistepScheduler",
        settings={"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
    ),
    "unipc": SolverRow(
        "predictor-corrector, good from 10 steps", vp="UniPCMultistepScheduler", flow="UniPCMultistepScheduler"
    ),
    "deis": SolverRow(
        "exponential integrator",
        vp="DEISMultistepScheduler",
        flow="videogen.schedulers.flow_deis:FlowDEISScheduler",
    ),
    "lcm": SolverRow("for consistency-distilled models, 1 to 8 steps", vp="LCMScheduler", flow="FlowMatchLCMScheduler"),
}


def solver_names(kind: str | None = None, *, zero_snr: bool = False) -> list[str]:
    """Names that fit a kind of prediction (one of `KINDS`), or all. zero_snr: of a model trained to zero SNR."""
    return [name for name, row in SOLVERS.items() if kind is None or row.fits(kind, zero_snr=zero_snr)]


def check_solver(name: str | None, schedule: NoiseSchedule | None = None) -> None:
    """Raise InputError for an unknown name, UnsupportedError, with the list that fits, for one that misfits a
    checkpoint's noise schedule."""
    if name is None:
        return
    if name not in SOLVERS:
        raise unknown("solver", name, SOLVERS)
    if schedule is None or SOLVERS[name].fits(schedule.kind, zero_snr=schedule.zero_snr):
        return
    model = f"predicts {schedule.kind!r}"
    if SOLVERS[name].fits(schedule.kind):
        model = "was trained down to zero SNR (rescale_betas_zero_snr)"
    fitting = ", ".join(solver_names(schedule.kind, zero_snr=schedule.zero_snr))
    raise UnsupportedError(f"solver {name!r} does not fit a model that {model}; use one of {fitting}")


def build_solver(name: str | None, own: Any, steps: int, device: str | torch.device = "cpu") -> Solver:
    """A solver set up for one run of `steps` steps.

    name: of the table; None: the checkpoint's own class and settings. own: the checkpoint's diffusers scheduler, whose
    noise schedule (betas, or flow shift) is used; it is not changed. Errors as `check_solver`.
    """
    import torch

    from .diffusers_scheduler import build_scheduler, check_even_spacing, check_static_shift
    from .diffusers_solver import DiffusersSolver, read_noise_schedule

    row = SOLVERS.get(name or "")
    if name is None or row is None or row.home is None:
        scheduler = build_scheduler(name, own)
        scheduler.set_timesteps(steps, device=device)
        return DiffusersSolver(scheduler)
    check_static_shift(own)
    check_even_spacing(name, own)
    schedule = read_noise_schedule(own)
    check_solver(name, schedule)
    solver: Solver = load_object(row.home, __package__)(schedule, steps, torch.device(device))
    return solver
