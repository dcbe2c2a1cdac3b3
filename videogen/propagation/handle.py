"""Propagation attached to a diffusers model or pipeline, and detached again without a trace.

The model's `forward` is replaced on the instance, and each call is decided to be a key step or not. Steps are given by
the engine's loop (`at`) or, in a pipeline that the user drives, read from the timesteps of the model calls. If
predictions between key steps do not depend on the latents, they are made ahead in one batch and returned in the order
of the pipeline's model calls, so that any solver gets its usual sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import nn

from videogen.core.attachment import attachments_on, check_free, check_not_compiled, close_handles
from videogen.core.denoisers import find_denoisers, find_scheduler
from videogen.core.errors import InputError
from videogen.core.step_counter import StepCounter
from videogen.schedulers.diffusers_solver import as_solver
from videogen.schedulers.solver import Solver

from .config import StepCaching, read_config
from .cut import Cut
from .library_hooks import has_library_cache
from .library_model import CachedModel
from .model_call import ModelCall
from .propagated_model import PropagatedModel
from .run import PropagationRun, RunSnapshot
from .run_report import Evaluation
from .run_schedule import read_schedule
from .supervision import CallContext


def attach(
    target: object,
    config: StepCaching | str | None = None,
    *,
    scheduler: Any = None,
    calibrated_as: str | None = None,
) -> PropagationHandle:
    """Propagate in a model, or in all denoisers of a pipeline, until `close()`.

    target: a diffusers UNet or video transformer, or a pipeline. config: the promise or rule, or a spec as on the
    command line, such as `fd`. scheduler: the scheduler of the run, from diffusers or a `Solver`; None: the pipeline's.
    A single model without one can only follow `every:N` or a list of steps. calibrated_as: the name of the model in
    `calibration`.

    The handle is also a context manager. Compile, copy or save a model before or after, not while this is attached.
    Raises InputError, UnsupportedError.
    """
    return PropagationHandle(target, read_config(config), scheduler, calibrated_as)


def detach(target: object) -> bool:
    """Remove propagation and caches of `attach_library` from a model or pipeline, also where their handle was lost.
    Returns whether there was any. Raises InputError for what is no model or pipeline."""
    return bool(close_handles(find_denoisers(target).values(), PropagatedModel.kind, CachedModel.kind))


class PropagationHandle:
    """Propagation on one model or pipeline. `report()` summarizes the run; `close()` detaches it.

    run: decides each call, without knowing the models.
    """

    def __init__(self, target: object, config: StepCaching, scheduler: Any, calibrated_as: str | None) -> None:
        self.run = PropagationRun(config, calibrated_as=calibrated_as)
        self._target = target
        self._scheduler = scheduler
        self._calls = 0
        models = find_denoisers(target)
        for model in models.values():
            _check_attachable(model)
        self._given_context: CallContext | None = None
        self._counter, self._counts_steps = StepCounter(), False
        self._models: list[PropagatedModel] = []
        try:
            for name, model in models.items():
                self._models.append(PropagatedModel(name, model, self))
                check_not_compiled(model, [part for part in model.modules() if any(attachments_on(part))])
            self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def config(self) -> StepCaching:
        return self.run.config

    @property
    def solver(self) -> Solver | None:
        """The solver of the run: the one given, or the pipeline's present one."""
        found = self._scheduler if self._scheduler is not None else find_scheduler(self._target)
        return None if found is None else as_solver(found)

    def _begin(self, first: float | None = None) -> None:
        """Begin a run at this timestep, with nothing cached or decided."""
        schedule = read_schedule(self.solver, self.config.predictor_kind.in_sigma, first)
        self.run.begin(schedule, is_known=self.solver is None or self.solver.is_set)

    @contextmanager
    def at(self, step: int, branch: str, guidance_scale: float = 1.0) -> Iterator[None]:
        """Give the step and guidance branch of the model calls in this block, instead of having them inferred.

        Calls of several windows are separate branches, `cond@0`, `cond@12`, in any order; windows may take turns from
        step to step. A branch that first appears at a step between key steps is fully evaluated, with all that follow
        at that step; if other branches of the step were propagated before it, the next step is a key step.
        """
        self._given_context = CallContext(step, branch, guidance_scale)
        try:
            yield
        finally:
            self._given_context = None

    def context(self, call: ModelCall) -> CallContext:
        """The step and branch of a call. A new run begins if the timesteps are another tensor, or start over."""
        run = self.run
        if self._given_context is not None:
            if self._given_context.step == 0 and run.step != 0:
                self._begin()
            return self._given_context
        if self.solver is None:
            if self._counter.count(call.timestep, tuple(call.latents.shape)):
                self._begin()
            return CallContext(self._counter.step, str(self._counter.calls), 1.0)
        step = self._find_step(call, self.solver)
        if step is None or step < run.step or run.controller is None:
            self._begin(call.timestep)
            step = 0
        self._calls = self._calls + 1 if step == run.step else 0
        return CallContext(step, str(self._calls), self._guidance_scale())

    def _find_step(self, call: ModelCall, solver: Solver) -> int | None:
        """The step of a call in the present run; None if a new run begins with it.

        Some pipelines give their model other numbers than the solver's timesteps, such as noise levels (Cosmos). Their
        calls are counted, from the first step on.
        """
        timestep, shape = call.timestep, tuple(call.latents.shape)
        if self.run.schedule.all_timesteps is not solver.timesteps or self.run.controller is None:
            found = None
            self._counts_steps = read_schedule(solver, False).find_step(timestep) is None
        elif not self._counts_steps:
            found = self.run.schedule.find_step(timestep)
            self._counts_steps = found is None
        else:
            begins = self._counter.count(timestep, shape)
            return None if begins or self._counter.step >= (self.run.schedule.steps or 0) else self._counter.step
        if self._counts_steps:
            self._counter = StepCounter()
            self._counter.count(timestep, shape)
        return found

    def _guidance_scale(self) -> float:
        """The guidance scale of the pipeline; 1 without guidance, the largest if each frame has a separate one."""
        scale = getattr(self._target, "guidance_scale", None)
        guided = bool(getattr(self._target, "do_classifier_free_guidance", True))
        return float(torch.as_tensor(scale).max()) if scale is not None and guided else 1.0

    @property
    def on_key_step(self) -> bool:
        """Whether the present step is a key step."""
        return self.run.on_key_step

    @property
    def evaluations(self) -> list[Evaluation]:
        """All model calls of this run."""
        return self.run.evaluations

    @property
    def cuts(self) -> list[Cut]:
        return self.run.cuts

    def force(self, steps: Mapping[int, str]) -> None:
        """Make these steps key steps in every run from now on, each with its reason."""
        self.run.force(steps)

    def finish_step(self, roll_back: bool = False) -> int | None:
        """After all calls of a step; see `PropagationRun.finish_step`."""
        return self.run.finish_step(roll_back)

    def snapshot(self) -> RunSnapshot:
        """All that later steps of this run depend on, between two steps of the engine's loop. UnsupportedError with
        `frames` above 1."""
        return self.run.snapshot()

    def restore(self, snapshot: RunSnapshot) -> None:
        """Go back to a snapshot of this handle, what was recorded since included; it can be restored again."""
        self.run.restore(snapshot)

    def report(self) -> dict[str, Any]:
        """The promise, the measured errors and the savings, for a manifest."""
        return self.run.report()

    def close(self) -> None:
        """Restore the model."""
        for model in self._models:
            model.close()

    def __enter__(self) -> PropagationHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_attachable(model: nn.Module) -> None:
    check_free(model, PropagatedModel)
    check_not_compiled(model, ())
    if has_library_cache(model):
        raise InputError(f"{type(model).__name__} has one of diffusers' caches enabled; call disable_cache() first")
