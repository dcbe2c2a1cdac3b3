"""Propagation on ComfyUI's native models: the denoiser is not called at steps whose output follows from key steps.

What is propagated is the prediction of the denoiser, or the clean latents that ComfyUI's model makes of it. Branches of
a batch are decided separately, and the denoiser is called once for the batch where one of them is a key step. A
sampler that calls the model several times per step and a run of few steps are plain, and the report has the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from videogen.core.errors import InputError, UnsupportedError
from videogen.propagation import PropagationRun, RunSchedule, StepCaching
from videogen.propagation.run_report import synchronized_time
from videogen.schedulers import sampler_name, step_at

from ..hooks.branches import BranchNames
from ..hooks.model_runs import APPLY_MODEL, DIFFUSION_MODEL, RunContext, Wrapper, find_options
from ..hooks.run_parts import RunPart
from .branch_tables import CallTimes, tabulate_evaluations
from .calibrated_samplers import why_no_promise

KEY = "videogen_propagation"
#: attribute of a ComfyUI model: its name in the library's calibration, without which no `max_error` is promised
CALIBRATED_AS = "videogen_calibrated_as"
#: ComfyUI's types of prediction -> those of the library; of all others, the clean latents are what is propagated
_KINDS = {"FLOW": "flow", "FLUX": "flow", "EPS": "epsilon", "V_PREDICTION": "v_prediction"}
_CLEAN = "sample"
_STEPS = re.compile(r"\s*\d{1,6}\s*(,\s*\d{1,6}\s*)*")
_FLOWS = ("FLOW_AV", "IMG_TO_IMG_FLOW")  # with sigmas from 0 to 1
_LONGEST = 40  # characters of a rule
_INTERVAL = "every:"
_MOST_STEPS = 10_000  # of ComfyUI's samplers
_UNWRAPPED = ("AsymmDiTJoint",)  # Mochi: a denoiser that lets no pack wrap it


def read_rule(rule: str) -> StepCaching:
    """The settings of a rule that suits any model: `every:N`, `fd`, steps such as `0,2,5`, or `max_error:E`. InputError
    for another."""
    listed = bool(_STEPS.fullmatch(rule))
    if len(rule) > _LONGEST and not listed:
        raise InputError(
            f"rule={rule[:_LONGEST]!r}… is unknown: use every:N, fd or max_error:E, such as max_error:0.05"
        )
    if rule.startswith("max_error"):
        found = StepCaching.parse(rule)
        assert found is not None
        return found
    try:
        config = StepCaching(keys=_read_steps(rule) if listed else rule)
        if rule.startswith(_INTERVAL) and int(rule.removeprefix(_INTERVAL)) > _MOST_STEPS:
            raise InputError(f"keys={rule!r} is longer than any run; use a small interval, such as every:2")
        return config
    except InputError as error:
        why = re.sub(r"(\[[\d, ]{40})[\d, ]+\]", r"\1…]", str(error)).replace("keys=", "rule=", 1)  # lists can be long
        raise InputError(f"{why}; or max_error:E, such as max_error:0.05") from None


def _read_steps(rule: str) -> tuple[int, ...]:
    return tuple(int(step) for step in rule.split(","))


class PropagatedRun:
    """State of one sampling run. Implements `model_runs.ModelRun`. declined: why the run is plain; empty where it is
    not. factor: as for `PropagationRun`."""

    def __init__(self, context: RunContext, config: StepCaching, factor: float | None = None) -> None:
        self._sigmas = context.sigmas
        self._guidance_scale = float(getattr(context.guider, "cfg", 1.0) or 1.0)
        self._branches, self._times = BranchNames(), CallTimes()
        self._run: PropagationRun | None = None
        part = RunPart.find(context.model_sampling, context.sigmas)
        self.declined = "" if part.steps else "the sampler has no steps"
        if self.declined:
            return
        try:
            kind, levels = _kind_of(context), _levels_of(context)
            self._place = APPLY_MODEL if kind == _CLEAN else DIFFUSION_MODEL
            self._is_unscaled = kind == _CLEAN and levels != "flow"  # clean latents plus noise of deviation sigma
            schedule = RunSchedule.from_sigmas(context.sigmas, levels, context.sampler_name)
            schedule = replace(schedule, kind=kind)
            config, name = part.key_steps_of(config), _calibrated_as(context)  # UnsupportedError for few steps
            if config.max_error is not None and factor is None:
                sampler = sampler_name(context.sampler_name)
                self.declined = why_no_promise(name, schedule.solver, sampler, part.steps, levels)
            if not self.declined:
                self._run = PropagationRun(config, schedule, calibrated_as=name, factor=factor)
        except UnsupportedError as error:
            self.declined = str(error)

    def wrappers(self) -> Mapping[str, Wrapper]:
        return {} if self._run is None else {self._place: self._call_denoiser}

    def report(self) -> dict[str, Any]:
        """As `PropagationRun.report`, with the evaluated steps by branch, and `seconds` of the denoiser's calls, which
        may have several branches; {"declined": reason} for a plain run."""
        if self._run is None:
            return {"declined": self.declined}
        branches = tabulate_evaluations(self._run.evaluations)
        return {**self._run.report(), "branches": branches, "seconds": self._times.summarize()}

    def close(self) -> None:
        self._run = None

    def _call_denoiser(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        latents, run = args[0], self._run
        options = find_options(args, kwargs)
        branches = self._name(options)
        if run is None or not isinstance(latents, torch.Tensor) or latents.shape[0] % len(branches):
            self.declined = "latents of several modalities" if run is not None else self.declined
            return executor(*args, **kwargs)
        sigma = float(options["sigmas"].flatten()[0])
        step, scaled = step_at(self._sigmas, sigma), latents / (1 + sigma**2) ** 0.5 if self._is_unscaled else latents
        size = latents.shape[0] // len(branches)
        evaluated: list[torch.Tensor] = []
        begin = synchronized_time(latents)

        def forward() -> torch.Tensor:
            if not evaluated:
                evaluated.append(executor(*args, **kwargs))
            return evaluated[0]

        parts = [slice(at, at + size) for at in range(0, latents.shape[0], size)]
        found = [
            run.call(
                step, branch, scaled[part], lambda part=part: forward()[part],  # type: ignore[misc]
                conditions=_conditions(args[2:], kwargs, part, latents.shape[0]),
                guidance_scale=self._guidance_scale,
            )
            for branch, part in zip(branches, parts, strict=True)
        ]  # fmt: skip
        self._times.add(synchronized_time(latents) - begin, evaluated=bool(evaluated))
        return found[0] if len(found) == 1 else torch.cat(found)  # type: ignore[arg-type]

    def _name(self, options: dict[str, Any]) -> tuple[str, ...]:
        """The branches of a call; windows are separate ones, by where they begin."""
        window = getattr(options.get("context_window"), "index_list", None)
        suffix = "" if not window else f" from {window[0]}"
        return tuple(name + suffix for name in self._branches.name(options))


def _kind_of(context: RunContext) -> str:
    """What is propagated: the denoiser's prediction, or the clean latents of ComfyUI's model around it, where the
    library does not know the prediction, several modalities are packed, or the denoiser cannot be wrapped."""
    kind = getattr(getattr(context.model, "model_type", None), "name", "")
    wrapped = type(context.model.diffusion_model).__name__ not in _UNWRAPPED
    return _KINDS.get(kind, _CLEAN) if wrapped and len(context.latent_shapes) < 2 else _CLEAN


def _levels_of(context: RunContext) -> str:
    """A kind of prediction with noise levels as the model's."""
    name = getattr(getattr(context.model, "model_type", None), "name", "")
    return _KINDS.get(name, "flow" if name in _FLOWS else "epsilon")


def _calibrated_as(context: RunContext) -> str | None:
    """The model's name in the calibration; None for another model, or one that a LoRA changes."""
    changed = getattr(context.guider.model_patcher, "patches", None)
    return None if changed else getattr(context.model, CALIBRATED_AS, None)


def _conditions(args: tuple[Any, ...], kwargs: dict[str, Any], part: slice, batch: int) -> dict[str, object]:
    """The inputs of a branch besides latents and timestep: tensors, by place or name."""
    given = {str(place): value for place, value in enumerate(args)} | kwargs
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    return {name: value[part] if value.shape[:1] == (batch,) else value for name, value in tensors.items()}
