"""Attaching propagation to a diffusers model or pipeline, and taking it off again without a trace.

The model's `forward` is replaced on the instance; it decides for each call whether it is a key. Steps are told by the
engine's loop (`at`) or, in a pipeline that the user drives, from the timesteps that the model is called with. Where
predictions between keys do not depend on the latents, they are made ahead in one batch and handed out in the order in
which the pipeline asks, so that any solver sees its normal sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import nn

from videogen.core.errors import InputError
from videogen.core.step_counter import Clock

from .attached import AttachedModel, attends_sparsely, first_tensor
from .boundary import Boundary
from .calls import Call
from .config import EncoderPropagation
from .controller import Controller
from .keyframes import KeyFrames
from .keys import Schedule, is_set, make_controller, read_schedule
from .report import Evaluated, summarise
from .supervision import Moment, Supervision
from .targets import denoisers, is_compiled

_AUDITED = (1, 2, 3, 5, 9, 17, 33)  # keys, counted from 0, at which a boundary that costs something is checked
_JOINED = "its windows were not evaluated at the last key"


def attach(
    target: Any,
    config: EncoderPropagation | str | None = None,
    *,
    scheduler: Any = None,
    calibrated_as: str | None = None,
) -> Handle:
    """Propagate in a model, or in all of a pipeline's denoisers, until `close()`.

    target: a diffusers UNet or video transformer, or a pipeline. config: what is promised, or the command line's word
    for it, such as `fd`. scheduler: whose timesteps are run; None: the pipeline's own; a bare model without one can
    only follow `every:N` or a list of steps. calibrated_as: the model's name in `calibration`. Also a context manager.
    A model is compiled, copied or saved before or after, not while. Raises InputError, UnsupportedError.
    """
    if isinstance(config, str):
        config = EncoderPropagation.parse(config)
        if config is None:
            raise InputError("propagation 'off' needs nothing attached")
    if not isinstance(config, EncoderPropagation | None):
        raise InputError(f"config={config!r} must be an EncoderPropagation or a word such as 'fd'")
    return Handle(target, config or EncoderPropagation(), scheduler, calibrated_as)


class Handle:
    """Propagation on one model or pipeline. `report()` says what it did; `close()` takes it off."""

    def __init__(self, target: Any, config: EncoderPropagation, scheduler: Any, calibrated_as: str | None) -> None:
        self.config, self.calibrated_as = config, calibrated_as
        self._pipeline = None if isinstance(target, nn.Module) else target
        self._scheduler = scheduler
        self._calls = 0
        models = denoisers(target)
        for model in models.values():
            _check_free(model)
        self._told: Moment | None = None
        self._clock = Clock()
        self._given: dict[int, str] = {}
        self._models: list[AttachedModel] = []
        try:
            for name, model in models.items():
                self._models.append(AttachedModel(name, model, self))
            self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def scheduler(self) -> Any:
        """Whose timesteps are run: what was given, or the pipeline's present one."""
        return self._scheduler if self._scheduler is not None else getattr(self._pipeline, "scheduler", None)

    def _begin(self, first: float | None = None) -> None:
        """A run begins, at this timestep: nothing is kept, nothing is decided."""
        self.schedule: Schedule = read_schedule(self.scheduler, self.config.predictor == "sigma", first)
        self.controller: Controller | None = None
        if self.scheduler is None or is_set(self.scheduler):  # else the pipeline has still to set its timesteps
            self.controller = make_controller(self.config, self.schedule, self._models[0].boundary, self.calibrated_as)
        self._supervision = Supervision(self.schedule.kind)
        self._step, self._is_key = -1, True
        self._rounds: list[
            int
        ] = []  # the keys that were decided; windows that take turns join a round at steps after it
        self._before = 0  # of `evaluated`: calls before the present step
        self.evaluated: list[Evaluated] = []
        self.ahead_s = 0.0
        self.errors: dict[int, float | None] = {}
        self.expected: dict[int, float | None] = {}
        self.rolled_back: list[tuple[int, int]] = []
        self.forced: dict[int, str] = dict(self._given)
        for model in self._models:
            model.forget()

    @contextmanager
    def at(self, step: int, branch: str, guidance_scale: float = 1.0) -> Iterator[None]:
        """Say which step and guidance branch the model calls in this block are of, instead of having them guessed.

        Calls of several windows are branches of their own, `cond@0`, `cond@12`, in any order; windows may take turns
        from step to step. A branch that comes first at a step between keys is evaluated whole, with all that follow at
        that step; where others of the step were propagated before it, the next step is a key.
        """
        self._told = Moment(step, branch, guidance_scale)
        try:
            yield
        finally:
            self._told = None

    def force(self, steps: Mapping[int, str]) -> None:
        """These steps are keys in every run from now on, whatever else is decided, each with the reason."""
        self._given.update(steps)
        self.forced.update(steps)

    def moment(self, call: Call) -> Moment:
        """Which step and branch a call is of. A new run begins where the timesteps are another tensor, or turn back."""
        if self._told is not None:
            return self._told
        if self.scheduler is None:
            if self._clock.tick(call.timestep, tuple(call.latents.shape)):
                self._begin()
            return Moment(self._clock.step, str(self._clock.calls), 1.0)
        step = None if self.schedule.whole is not self.scheduler.timesteps else self.schedule.step_of(call.timestep)
        if step is None or step < self._step or self.controller is None:
            self._begin(call.timestep)
            step = 0
        self._calls = self._calls + 1 if step == self._step else 0
        return Moment(step, str(self._calls), self._guidance_scale())

    def _guidance_scale(self) -> float:
        """The pipeline's, 1 where it guides nothing; the largest where each frame has its own."""
        scale = getattr(self._pipeline, "guidance_scale", None)
        guided = bool(getattr(self._pipeline, "do_classifier_free_guidance", True))
        return float(torch.as_tensor(scale).max()) if scale is not None and guided else 1.0

    def is_key(self, moment: Moment, model: AttachedModel) -> bool:
        """Decided once a step, for all its branches."""
        if moment.step != self._step:
            if self._told is not None and moment.step == 0:
                self._begin()
            assert self.controller is not None
            self.finish_step()
            self._step, self._before = moment.step, len(self.evaluated)
            last = model.last_key(moment.branch)
            if last is not None:
                self.controller.stands_on(last)
            self.expected[moment.step] = self.controller.expected(moment.step)
            if self._is_late(last):
                self.forced.setdefault(moment.step, _JOINED)
                self._is_key = True
            else:
                self._is_key = moment.step in self.forced or self.controller.is_key(moment.step)
                self._rounds += [moment.step] if self._is_key else []
        return self._is_key

    def _is_late(self, last: int | None) -> bool:
        """Whether a branch, last evaluated whole at this step, has yet to follow the last key that was decided."""
        return last is not None and bool(self._rounds) and last < self._rounds[-1]

    def joins(self, moment: Moment, last: int | None) -> bool:
        """Whether a branch that was absent at the last key is evaluated whole at a step whose other branches were
        not."""
        if self._is_key or not self._is_late(last):
            return False
        self.forced.setdefault(moment.step, f"{_JOINED}, in some branches")
        return True

    def make_key(self, moment: Moment, why: str) -> None:
        """Nothing is there to propagate from: this step is a key after all, and if a branch of it was not, the next one
        too."""
        assert self.controller is not None
        if self._is_key:
            return
        self.forced.setdefault(moment.step, why)
        if len(self.evaluated) > self._before:
            self.forced.setdefault(moment.step + 1, f"{why} at the step before, in one branch")
        else:
            self.controller.retract(moment.step)
            self._is_key = True

    @property
    def was_key(self) -> bool:
        """Whether the step that was last called is a key."""
        return self._is_key

    def audits(self, model: nn.Module) -> bool:
        """Whether the present key step is also evaluated as if it were none: at the first few, then ever more
        seldom."""
        return self.config.max_error is not None and len(self.errors) in _AUDITED and not attends_sparsely(model)

    def supervise(self, moment: Moment, expected: Any, fresh: Any, latents: torch.Tensor, drift: float | None) -> None:
        """At a key: what propagation would have given beside what the model gave, or the change of its features
        alone."""
        if self.schedule.levels is None or not self._is_key:
            return
        self._supervision.drifted(drift)
        if expected is not None:
            level = self.schedule.levels[moment.step]
            self._supervision.note(first_tensor(expected), first_tensor(fresh), latents, level, moment)

    def finish_step(self, roll_back: bool = False) -> int | None:
        """All branches of the present step were called. Learns from it where it is a key.

        Where `roll_back` is allowed and the error is far above its estimate: the step to go on from, which will be a
        key.
        """
        step, levels = self._step, self.schedule.levels
        if step < 0 or not self._is_key or step in self.errors or levels is None or self.controller is None:
            return None
        error = self._supervision.error(levels[step])
        back = self.controller.overshot(step, error) if roll_back else None
        if back is None:
            self.errors[step] = error
            self.controller.measured(step, error)
            return None
        assert error is not None
        self.controller.rolled_back(back, error)
        self.rolled_back.append((step, back))
        for model in self._models:
            model.go_back(back)
        self._rounds = [key for key in self._rounds if key < back]
        self._step, self._is_key = back - 1, False
        return back

    def close(self) -> None:
        """The model is as it was before."""
        for model in self._models:
            model.close()

    def report(self) -> dict[str, Any]:
        """What was promised and reached, and what it saved, for a manifest."""
        self.finish_step()
        return summarise(self)

    @property
    def boundaries(self) -> list[Boundary]:
        return [model.boundary for model in self._models]

    @property
    def key_frames(self) -> list[KeyFrames]:
        """Of each model, where key steps compute some frames only."""
        return [model.key_frames for model in self._models if model.key_frames]

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_free(model: nn.Module) -> None:
    if isinstance(getattr(vars(model).get("forward"), "__self__", None), AttachedModel):
        raise InputError(f"{type(model).__name__} has propagation attached already; close() that handle first")
    if is_compiled(model):
        raise InputError(
            f"{type(model).__name__} is compiled, so nothing that is attached would run; attach first, then compile"
        )
    if getattr(model, "is_cache_enabled", False):
        raise InputError(f"{type(model).__name__} has one of diffusers' caches enabled; disable_cache() it first")
