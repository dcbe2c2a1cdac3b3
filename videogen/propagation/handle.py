"""Propagation attached to a diffusers model or pipeline, and detached again without a trace.

The model's `forward` is replaced on the instance, and each call is decided to be a key step or not. Steps are given by
the engine's loop (`at`) or, in a pipeline that the user drives, read from the timesteps of the model calls. If
predictions between key steps do not depend on the latents, they are made ahead in one batch and returned in the order
of the pipeline's model calls, so that any solver gets its usual sequence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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

from .build_controller import build_controller
from .config import StepCaching
from .controller import Controller
from .cut import Cut, CutSnapshot, ModelOutput
from .key_step_frames import KeyStepFrames
from .library_hooks import has_library_cache
from .library_model import CachedModel
from .model_call import ModelCall
from .propagated_model import PropagatedModel, first_tensor, has_fixed_batch
from .run_report import Evaluation, summarize
from .run_schedule import RunSchedule, read_schedule
from .run_state import read_state, write_state
from .supervision import CallContext, Supervision

_log = logging.getLogger("videogen.propagation")
# key steps, counted from 0, at which a cut whose predictions cost time is compared with the model
_AUDITED = (1, 2, 3, 5, 9, 17, 33)
_TOO_MANY_CHANGES = 3  # in a row, of a model's conditions
#: attributes of a handle that change during a run
_STATEFUL = (
    "controller", "_supervision", "_changed_at", "_changes_in_a_row", "_step", "_is_key_step", "_decided",
    "_before_step", "evaluations", "ahead_s", "errors", "expected", "rolled_back", "forced",
)  # fmt: skip
_LATE = "its windows were not evaluated at the last key step"


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
    if isinstance(config, str):
        config = StepCaching.parse(config)
        if config is None:
            raise InputError("propagation 'off' needs nothing attached")
    if not isinstance(config, StepCaching | None):
        raise InputError(f"config={config!r} must be a StepCaching or a spec such as 'fd'")
    return PropagationHandle(target, config or StepCaching(), scheduler, calibrated_as)


def detach(target: object) -> bool:
    """Remove propagation and caches of `attach_library` from a model or pipeline, also where their handle was lost.
    Returns whether there was any. Raises InputError for what is no model or pipeline."""
    return bool(close_handles(find_denoisers(target).values(), PropagatedModel.kind, CachedModel.kind))


@dataclass(frozen=True)
class HandleSnapshot:
    """State of a handle between two steps: its own attributes, and those of each of its models."""

    schedule: RunSchedule
    state: dict[str, Any]
    models: list[tuple[CutSnapshot, dict[str, Any]]]


class PropagationHandle:
    """Propagation on one model or pipeline. `report()` summarizes the run; `close()` detaches it."""

    def __init__(self, target: object, config: StepCaching, scheduler: Any, calibrated_as: str | None) -> None:
        self.config, self.calibrated_as = config, calibrated_as
        self._target = target
        self._scheduler = scheduler
        self._calls = 0
        models = find_denoisers(target)
        for model in models.values():
            _check_attachable(model)
        self._given_context: CallContext | None = None
        self._counter, self._counts_steps = StepCounter(), False
        self._given_key_steps: dict[int, str] = {}
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
    def solver(self) -> Solver | None:
        """The solver of the run: the one given, or the pipeline's present one."""
        found = self._scheduler if self._scheduler is not None else find_scheduler(self._target)
        return None if found is None else as_solver(found)

    def _begin(self, first: float | None = None) -> None:
        """Begin a run at this timestep, with nothing cached or decided."""
        self.schedule: RunSchedule = read_schedule(self.solver, self.config.predictor_kind.in_sigma, first)
        self.controller: Controller | None = None
        if self.solver is None or self.solver.is_set:  # else the pipeline has yet to set its timesteps
            self.controller = build_controller(self.config, self.schedule, self._models[0].cut, self.calibrated_as)
        self._supervision = Supervision(self.schedule.kind)
        self._changed_at, self._changes_in_a_row = -1, 0
        self._step, self._is_key_step = -1, True
        self._decided: list[int] = []  # key steps; windows that take turns follow them at later steps
        self._before_step = 0  # number of `evaluations` before the present step
        self.evaluations: list[Evaluation] = []
        self.ahead_s = 0.0
        self.errors: dict[int, float | None] = {}
        self.expected: dict[int, float | None] = {}
        self.rolled_back: list[tuple[int, int]] = []
        self.forced: dict[int, str] = dict(self._given_key_steps)
        for model in self._models:
            model.forget()

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

    def force(self, steps: Mapping[int, str]) -> None:
        """Make these steps key steps in every run from now on, each with its reason."""
        self._given_key_steps.update(steps)
        self.forced.update(steps)

    def context(self, call: ModelCall) -> CallContext:
        """The step and branch of a call. A new run begins if the timesteps are another tensor, or start over."""
        if self._given_context is not None:
            return self._given_context
        if self.solver is None:
            if self._counter.count(call.timestep, tuple(call.latents.shape)):
                self._begin()
            return CallContext(self._counter.step, str(self._counter.calls), 1.0)
        step = self._find_step(call, self.solver)
        if step is None or step < self._step or self.controller is None:
            self._begin(call.timestep)
            step = 0
        self._calls = self._calls + 1 if step == self._step else 0
        return CallContext(step, str(self._calls), self._guidance_scale())

    def _find_step(self, call: ModelCall, solver: Solver) -> int | None:
        """The step of a call in the present run; None if a new run begins with it.

        Some pipelines give their model other numbers than the solver's timesteps, such as noise levels (Cosmos). Their
        calls are counted, from the first step on.
        """
        timestep, shape = call.timestep, tuple(call.latents.shape)
        if self.schedule.all_timesteps is not solver.timesteps or self.controller is None:
            found = None
            self._counts_steps = read_schedule(solver, False).find_step(timestep) is None
        elif not self._counts_steps:
            found = self.schedule.find_step(timestep)
            self._counts_steps = found is None
        else:
            begins = self._counter.count(timestep, shape)
            return None if begins or self._counter.step >= (self.schedule.steps or 0) else self._counter.step
        if self._counts_steps:
            self._counter = StepCounter()
            self._counter.count(timestep, shape)
        return found

    def _guidance_scale(self) -> float:
        """The guidance scale of the pipeline; 1 without guidance, the largest if each frame has a separate one."""
        scale = getattr(self._target, "guidance_scale", None)
        guided = bool(getattr(self._target, "do_classifier_free_guidance", True))
        return float(torch.as_tensor(scale).max()) if scale is not None and guided else 1.0

    def is_key_step(self, context: CallContext, model: PropagatedModel) -> bool:
        """Whether a call is of a key step, which is decided once per step for all its branches."""
        if context.step != self._step:
            if self._given_context is not None and context.step == 0:
                self._begin()
            assert self.controller is not None
            self.finish_step()
            self._step, self._before_step = context.step, len(self.evaluations)
            last = model.last_key_step(context.branch)
            if last is not None:
                self.controller.start_span(last)
            self.expected[context.step] = self.controller.expected_error(context.step)
            if self._is_late(last):
                self.forced.setdefault(context.step, _LATE)
                self._is_key_step = True
            else:
                self._is_key_step = context.step in self.forced or self.controller.is_key_step(context.step)
                self._decided += [context.step] if self._is_key_step else []
        return self._is_key_step

    def _is_late(self, last: int | None) -> bool:
        """Whether a branch that was last fully evaluated at this step missed the last key step."""
        return last is not None and bool(self._decided) and last < self._decided[-1]

    def joins_key_step(self, context: CallContext, last: int | None) -> bool:
        """Whether a branch that missed the last key step is fully evaluated at a step whose other branches are not."""
        if self._is_key_step or not self._is_late(last):
            return False
        self.forced.setdefault(context.step, f"{_LATE}, in some branches")
        return True

    def add_key_step(self, context: CallContext, why: str) -> None:
        """Make this step a key step, as there is nothing to propagate from; if a branch of it was propagated, the next
        one instead."""
        assert self.controller is not None
        if self._is_key_step:
            return
        self.forced.setdefault(context.step, why)
        if len(self.evaluations) > self._before_step:
            self.forced.setdefault(context.step + 1, f"{why} at the step before, in one branch")
        else:
            self.controller.retract(context.step)
            self._is_key_step = True

    def note_changed(self, context: CallContext, names: list[str]) -> None:
        """Warn, once, if conditions change at every step, so that nothing is ever propagated."""
        last, self._changed_at = self._changed_at, context.step
        if last == context.step:  # another branch
            return
        self._changes_in_a_row = self._changes_in_a_row + 1 if context.step == last + 1 else 1
        if self._changes_in_a_row == _TOO_MANY_CHANGES:
            _log.warning(
                "nothing is propagated: %s of the model differ from step to step, and every such step is evaluated; "
                "give the same values at each step, or leave propagation out",
                ", ".join(sorted(names)),
            )

    @property
    def on_key_step(self) -> bool:
        """Whether the present step is a key step."""
        return self._is_key_step

    def audits(self, model: nn.Module) -> bool:
        """Whether the present key step is also propagated, for comparison: the first few, and later ever fewer."""
        return self.config.max_error is not None and len(self.errors) in _AUDITED and not has_fixed_batch(model)

    def supervise(
        self,
        context: CallContext,
        expected: ModelOutput | None,
        fresh: ModelOutput,
        latents: torch.Tensor,
        drift: float | None,
    ) -> None:
        """Compare the propagated output of a key step with the model's, or note the drift of the features alone."""
        if self.schedule.levels is None or not self._is_key_step:
            return
        self._supervision.note_drift(drift)
        if expected is not None:
            level = self.schedule.levels[context.step]
            self._supervision.note(first_tensor(expected), first_tensor(fresh), latents, level, context)

    def finish_step(self, roll_back: bool = False) -> int | None:
        """Note that all branches of the present step were called, and learn from its error if it is a key step.

        Returns the step to go back to, which will be a key step, if `roll_back` is allowed and the error is far above
        its estimate; else None.
        """
        step, levels = self._step, self.schedule.levels
        if step < 0 or not self._is_key_step or step in self.errors or levels is None or self.controller is None:
            return None
        error = self._supervision.error(levels[step])
        back = self.controller.roll_back_step(step, error) if roll_back else None
        if back is None:
            self.errors[step] = error
            self.controller.note_error(step, error)
            return None
        assert error is not None
        self.controller.roll_back(back, error)
        self.rolled_back.append((step, back))
        for model in self._models:
            model.go_back(back)
        self._decided = [key_step for key_step in self._decided if key_step < back]
        self._step, self._is_key_step = back - 1, False
        return back

    def snapshot(self) -> HandleSnapshot:
        """All that later steps of this run depend on, between two steps of the engine's loop. UnsupportedError with
        `frames` above 1."""
        return HandleSnapshot(self.schedule, read_state(self, _STATEFUL), [model.snapshot() for model in self._models])

    def restore(self, snapshot: HandleSnapshot) -> None:
        """Go back to a snapshot of this handle, what was recorded since included; it can be restored again."""
        self.schedule = snapshot.schedule
        write_state(self, snapshot.state)
        for model, stored in zip(self._models, snapshot.models, strict=True):
            model.restore(stored)

    def close(self) -> None:
        """Restore the model."""
        for model in self._models:
            model.close()

    def report(self) -> dict[str, Any]:
        """The promise, the measured errors and the savings, for a manifest."""
        self.finish_step()
        return summarize(self)

    @property
    def cuts(self) -> list[Cut]:
        return [model.cut for model in self._models]

    @property
    def key_step_frames(self) -> list[KeyStepFrames]:
        """The frame subsets of the models, if key steps compute some frames only."""
        return [model.key_step_frames for model in self._models if model.key_step_frames]

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
