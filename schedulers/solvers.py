"""Solvers by name. They are diffusers' schedulers; this table says which fits which kind of prediction.

A name means the same method for every model: `unipc` is UniPC on noise or velocity for a UNet, and UniPC on flow
sigmas for a flow-matching DiT. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from videogen.core.errors import UnsupportedError, unknown

VP_KINDS = ("epsilon", "v_prediction", "sample")
FLOW = "flow"


@dataclass(frozen=True)
class Solver:
    """A row of the table: the method's diffusers classes for variance-preserving and for flow models (None: no such).

    samples: whether the class for variance-preserving models also takes a model that predicts the sample.
    """

    about: str
    vp: str | None = None
    flow: str | None = None
    samples: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)


SOLVERS: dict[str, Solver] = {
    "ddim": Solver("deterministic, the field's reference", vp="DDIMScheduler"),
    "ddpm": Solver("ancestral, needs many steps", vp="DDPMScheduler"),
    "pndm": Solver("pseudo linear multistep", vp="PNDMScheduler", samples=False, settings={"skip_prk_steps": True}),
    "euler": Solver("first order, robust", vp="EulerDiscreteScheduler", flow="FlowMatchEulerDiscreteScheduler"),
    "euler-a": Solver("ancestral Euler: adds noise at each step", vp="EulerAncestralDiscreteScheduler", samples=False),
    "heun": Solver("second order, two model calls a step", vp="HeunDiscreteScheduler", flow="FlowMatchHeunDiscreteScheduler"),
    "dpm++2m": Solver(
        "second-order multistep, good from 15 steps",
        vp="DPMSolverMultistepScheduler",
        flow="DPMSolverMultistepScheduler",
        settings={"algorithm_type": "dpmsolver++", "solver_order": 2},
    ),
    "dpm++2m-sde": Solver(
        "its stochastic variant",
        vp="DPMSolverMultistepScheduler",
        flow="DPMSolverMultistepScheduler",
        settings={"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
    ),
    "unipc": Solver("predictor-corrector, good from 10 steps", vp="UniPCMultistepScheduler", flow="UniPCMultistepScheduler"),
    "deis": Solver("exponential integrator", vp="DEISMultistepScheduler", flow="DEISMultistepScheduler"),
    "lcm": Solver(
        "for consistency-distilled models, 1 to 8 steps", vp="LCMScheduler", flow="FlowMatchLCMScheduler"
    ),
}  # fmt: skip


def solver_names(kind: str | None = None) -> list[str]:
    """Names that fit a kind of prediction (`epsilon`, `v_prediction`, `sample`, `flow`), or all."""
    return [name for name, solver in SOLVERS.items() if kind is None or _class_name(solver, kind)]


def prediction_kind(scheduler: Any) -> str:
    """What the model behind this diffusers scheduler predicts: `epsilon`, `v_prediction`, `sample` or `flow`."""
    kind = scheduler.config.get("prediction_type", "epsilon")
    is_flow = kind == "flow_prediction" or type(scheduler).__name__.startswith("FlowMatch")
    return FLOW if is_flow else str(kind)


def is_stochastic(scheduler: Any) -> bool:
    """Whether a diffusers scheduler adds fresh noise at each step."""
    name, config = type(scheduler).__name__, scheduler.config
    noisy = any(word in name for word in ("Ancestral", "LCM", "DDPM", "TCD", "SDE", "EDMDPM"))
    return noisy or str(config.get("algorithm_type", "")).startswith("sde")


def check_solver(name: str | None, kind: str | None = None) -> None:
    """InputError for an unknown name; UnsupportedError, with the list that fits, for one that misfits `kind`."""
    if name is None:
        return
    if name not in SOLVERS:
        raise unknown("solver", name, SOLVERS)
    if kind is not None and not _class_name(SOLVERS[name], kind):
        raise UnsupportedError(
            f"solver {name!r} does not fit a model that predicts {kind!r}; use one of {', '.join(solver_names(kind))}"
        )


def make_solver(name: str | None, own: Any) -> Any:
    """A fresh scheduler for one run. None: the checkpoint's own class and settings.

    own: the checkpoint's scheduler, whose noise schedule (betas, or flow shift) is kept.
    """
    if own.config.get("use_dynamic_shifting", False):
        raise UnsupportedError(
            f"{type(own).__name__} shifts its sigmas by the clip's size (use_dynamic_shifting), which no family here defines; "
            "set it to false in the checkpoint's scheduler_config.json"
        )
    if name is None:
        return type(own).from_config(own.config)
    kind = prediction_kind(own)
    check_solver(name, kind)
    import diffusers

    scheduler_class = getattr(diffusers, str(_class_name(SOLVERS[name], kind)))
    settings = dict(SOLVERS[name].settings)
    if kind != FLOW:
        # Diffusers' DDIM and DDPM clip to -1..1 where a config is silent: right for pixels, wrong for latents.
        return scheduler_class.from_config(own.config, clip_sample=own.config.get("clip_sample", False), **settings)
    return scheduler_class(**settings, **_flow_settings(scheduler_class, own))


def _flow_settings(scheduler_class: type, own: Any) -> dict[str, Any]:
    shift = own.config.get("flow_shift", own.config.get("shift", 1.0))
    common = {"num_train_timesteps": own.config.num_train_timesteps}
    if scheduler_class.__name__.startswith("FlowMatch"):
        return {"shift": shift, **common}
    return {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": shift, **common}


def _class_name(solver: Solver, kind: str) -> str | None:
    if kind == FLOW:
        return solver.flow
    return solver.vp if solver.samples or kind != "sample" else None
