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

    from .solver import Solver


@dataclass(frozen=True)
class SolverRow:
    """A row of the table.

    vp, flow: diffusers classes of the method for variance-preserving and for flow models (None: there is none), and
    settings: their arguments; takes_sample: whether the first also fits a model that predicts the sample. Or home: the
    `LevelSolver`, as `module:Class` of this package or `package.module:Class`, and kinds: the predictions that it fits.
    """

    description: str
    vp: str | None = None
    flow: str | None = None
    takes_sample: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    home: str | None = None
    kinds: tuple[str, ...] = KINDS

    def diffusers_class(self, kind: str) -> str | None:
        """Name of the diffusers class for this kind of prediction; None where there is none."""
        if kind == FLOW:
            return self.flow
        return self.vp if self.takes_sample or kind != "sample" else None

    def fits(self, kind: str) -> bool:
        """Whether the solver can sample a model with this kind of prediction."""
        return kind in self.kinds if self.home else self.diffusers_class(kind) is not None


SOLVERS: dict[str, SolverRow] = {
    "ddim": SolverRow("deterministic, the field's reference", vp="DDIMScheduler"),
    "ddpm": SolverRow("ancestral, needs many steps", vp="DDPMScheduler"),
    "pndm": SolverRow(
        "pseudo linear multistep", vp="PNDMScheduler", takes_sample=False, settings={"skip_prk_steps": True}
    ),
    "euler": SolverRow("first order, robust", vp="EulerDiscreteScheduler", flow="FlowMatchEulerDiscreteScheduler"),
    "euler-a": SolverRow(
        "ancestral Euler: adds noise at each step", vp="EulerAncestralDiscreteScheduler", takes_sample=False
    ),
    "heun": SolverRow(
        "second order, two model calls per step", vp="HeunDiscreteScheduler", flow="FlowMatchHeunDiscreteScheduler"
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
    "deis": SolverRow("exponential integrator", vp="DEISMultistepScheduler", flow="DEISMultistepScheduler"),
    "lcm": SolverRow("for consistency-distilled models, 1 to 8 steps", vp="LCMScheduler", flow="FlowMatchLCMScheduler"),
}


def solver_names(kind: str | None = None) -> list[str]:
    """Names that fit a kind of prediction (one of `KINDS`), or all."""
    return [name for name, row in SOLVERS.items() if kind is None or row.fits(kind)]


def check_solver(name: str | None, kind: str | None = None) -> None:
    """Raise InputError for an unknown name, UnsupportedError, with the list that fits, for one that misfits `kind`."""
    if name is None:
        return
    if name not in SOLVERS:
        raise unknown("solver", name, SOLVERS)
    if kind is not None and not SOLVERS[name].fits(kind):
        raise UnsupportedError(
            f"solver {name!r} does not fit a model that predicts {kind!r}; use one of {', '.join(solver_names(kind))}"
        )


def build_solver(name: str | None, own: Any, steps: int, device: str | torch.device = "cpu") -> Solver:
    """A solver set up for one run of `steps` steps.

    name: of the table; None: the checkpoint's own class and settings. own: the checkpoint's diffusers scheduler, whose
    noise schedule (betas, or flow shift) is used; it is not changed. Errors as `check_solver`.
    """
    import torch

    from .diffusers_solver import DiffusersSolver, build_scheduler, check_static_shift, read_noise_schedule

    row = SOLVERS.get(name or "")
    if row is None or row.home is None:
        scheduler = build_scheduler(name, own)
        scheduler.set_timesteps(steps, device=device)
        return DiffusersSolver(scheduler)
    check_static_shift(own)
    schedule = read_noise_schedule(own)
    check_solver(name, schedule.kind)
    solver: Solver = load_object(row.home, __package__)(schedule, steps, torch.device(device))
    return solver
