"""Diffusers schedulers by solver name, with the noise schedule that a checkpoint was trained with.

Diffusers' classes share few settings and ignore the others silently. Here a setting that the noise schedule depends on
is carried over, or the solver is refused.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import torch

from videogen.core.errors import UnsupportedError

from .diffusers_solver import flow_shift, prediction_kind, read_noise_schedule
from .parametrization import FLOW
from .solvers import SOLVERS, check_solver, solver_names

_LEAST_SIGNAL = 2.0**-24  # cumulated product at zero SNR, as in diffusers' own solvers
_NOISE = ("beta_start", "beta_end", "beta_schedule", "trained_betas", "num_train_timesteps", "prediction_type")
_SHIFT = (
    "use_dynamic_shifting",
    "base_shift",
    "max_shift",
    "base_image_seq_len",
    "max_image_seq_len",
    "time_shift_type",
)
_SPACING = ("shift_terminal", "invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


def build_scheduler(name: str | None, own: Any, *, shifts: bool = False) -> Any:
    """A fresh diffusers scheduler, as diffusers' own pipelines take it; its timesteps are not set.

    name: of the table of solvers; None: the checkpoint's own class (for flow DEIS `FlowDEISScheduler`) and settings.
    own: the checkpoint's scheduler, whose noise schedule (betas, or flow shift) is used; where its class is the named
    one, all of its settings are. shifts: whether the caller shifts the sigmas by the clip's size, where the checkpoint
    is made for it. Errors as `check_solver`; UnsupportedError for a solver that
    is not diffusers', and where it cannot keep the noise schedule.
    """
    if not shifts:
        check_static_shift(own)
    if name is None:
        return _own_class(own).from_config(own.config)
    check_solver(name, read_noise_schedule(own))
    if SOLVERS[name].home is not None:
        raise UnsupportedError(f"solver {name!r} is not a diffusers scheduler; use it through the engine")
    return _build_flow(name, own) if prediction_kind(own) == FLOW else _build_vp(name, own)


def with_shift(own: Any, shift: float | None) -> Any:
    """A flow checkpoint's scheduler with another shift of its sigmas, the same at any size; None: as it is.

    UnsupportedError for a model that has none, whose noise levels are not sigmas from 0 to 1.
    """
    if shift is None:
        return own
    key = next((name for name in ("flow_shift", "shift") if name in own.config), None)
    if prediction_kind(own) != FLOW or key is None:
        raise UnsupportedError(f"shift={shift:g} is for flow-matching models, which {type(own).__name__} is not for")
    fixed = {"use_dynamic_shifting": False} if own.config.get("use_dynamic_shifting", False) else {}
    return type(own).from_config(own.config, **{key: shift}, **fixed)


def _own_class(own: Any) -> Any:
    """The checkpoint's class; our DEIS for a flow model's, which ends before all noise is gone."""
    is_deis = type(own).__name__ == SOLVERS["deis"].vp and prediction_kind(own) == FLOW
    return _class("deis", own) if is_deis else type(own)


def check_static_shift(own: Any) -> None:
    """UnsupportedError for a checkpoint's scheduler that shifts its sigmas by the clip's size."""
    if own.config.get("use_dynamic_shifting", False):
        raise UnsupportedError(
            f"{type(own).__name__} shifts its sigmas by the clip's size (use_dynamic_shifting), which no family here "
            "defines; set it to false in the checkpoint's scheduler_config.json"
        )


def check_even_spacing(name: str, own: Any) -> None:
    """UnsupportedError for a flow checkpoint whose sigmas are not those of `NoiseSchedule.spaced`."""
    changed = [key for key in _SPACING if own.config.get(key)]
    if prediction_kind(own) == FLOW and changed:
        raise _cannot_keep(name, own, changed)


def _build_vp(name: str, own: Any) -> Any:
    """The class of a variance-preserving model; where it cannot derive the checkpoint's betas, they are handed over."""
    scheduler_class = _class(name, own)
    options = {key: own.config[key] for key in _NOISE if key in own.config}
    # Diffusers' DDIM and DDPM clip to -1..1 where a config is silent: right for pixels, wrong for latents.
    options |= {"clip_sample": own.config.get("clip_sample", False)} | dict(SOLVERS[name].settings)
    scheduler = scheduler_class.from_config(own.config, **options)
    if _same_noise(scheduler, own):
        return scheduler
    options |= {"trained_betas": _betas(own), "rescale_betas_zero_snr": False}
    return scheduler_class.from_config(own.config, **options)


def _same_noise(scheduler: Any, own: Any) -> bool:
    found, expected = scheduler.alphas_cumprod.double(), own.alphas_cumprod.double()
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=2 * _LEAST_SIGNAL)


def _betas(own: Any) -> list[float]:
    """The betas of the checkpoint's cumulated products, with a little signal left at zero SNR."""
    products = own.alphas_cumprod.double().clamp(min=_LEAST_SIGNAL)
    before = torch.cat([torch.ones(1, dtype=torch.float64), products[:-1]])
    betas: list[float] = (1 - products / before).tolist()
    return betas


def _build_flow(name: str, own: Any) -> Any:
    scheduler_class = _class(name, own)
    settings, shift = dict(SOLVERS[name].settings), flow_shift(own)
    if issubclass(scheduler_class, type(own)):
        return scheduler_class.from_config(own.config, **settings)
    changed = [key for key in _SPACING if own.config.get(key)]
    if set(changed) - set(_common_spacing(name, own)):
        raise _cannot_keep(name, own, changed)
    settings |= {"num_train_timesteps": own.config.num_train_timesteps} | {key: own.config[key] for key in changed}
    settings |= _dynamic_shift(scheduler_class, name, own)
    if _is_flow_match(scheduler_class):
        return scheduler_class(shift=shift, **settings)
    return scheduler_class(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, **settings)


def _dynamic_shift(scheduler_class: Any, name: str, own: Any) -> dict[str, Any]:
    """The settings by which the checkpoint shifts its sigmas by the clip's size. UnsupportedError where the class of
    this name does not know them."""
    if not own.config.get("use_dynamic_shifting", False):
        return {}
    known = inspect.signature(scheduler_class.__init__).parameters
    if "use_dynamic_shifting" not in known:
        raise _cannot_keep(name, own, ["use_dynamic_shifting"])
    return {key: own.config[key] for key in _SHIFT if key in known and key in own.config}


def _common_spacing(name: str, own: Any) -> list[str]:
    """The settings of the checkpoint's sigmas that mean the same to the class of this name."""
    scheduler_class = _class(name, own)
    known = inspect.signature(scheduler_class.__init__).parameters
    same_meaning = _is_flow_match(scheduler_class) == _is_flow_match(type(own))
    return [key for key in _SPACING if key in known and (same_meaning or key == "shift_terminal")]


def _cannot_keep(name: str, own: Any, changed: list[str]) -> UnsupportedError:
    fitting = [
        other
        for other in solver_names(FLOW)
        if SOLVERS[other].home is None and set(changed) <= set(_common_spacing(other, own))
    ]
    use = f"use one of {', '.join(fitting)}, or none" if fitting else "name no solver"
    return UnsupportedError(
        f"solver {name!r} cannot keep {', '.join(f'{key}={own.config[key]}' for key in changed)} of this checkpoint's "
        f"{type(own).__name__}; {use}, for the checkpoint's own"
    )


def _is_flow_match(scheduler_class: type) -> bool:
    return scheduler_class.__name__.startswith("FlowMatch")


def _class(name: str, own: Any) -> Any:
    """The scheduler class of a solver name for what this checkpoint predicts."""
    named = str(SOLVERS[name].diffusers_class(prediction_kind(own)))
    module, _, class_name = named.rpartition(":")
    return getattr(import_module(module or "diffusers"), class_name)
