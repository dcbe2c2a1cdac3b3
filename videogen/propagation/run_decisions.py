"""Decisions of one propagated run: its key steps, for all branches together, and what their errors teach."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch

from .config import StepCaching
from .controller import Controller
from .cut import ModelOutput
from .run_report import Evaluation
from .run_schedule import RunSchedule
from .supervision import CallContext, Supervision, first_tensor

_log = logging.getLogger("videogen.propagation")
# key steps, counted from 0, at which a cut whose predictions cost time is compared with the model
_AUDITED = (1, 2, 3, 5, 9, 17, 33)
_TOO_MANY_CHANGES = 3  # in a row, of a model's conditions
_LATE = "its windows were not evaluated at the last key step"


class RunDecisions:
    """What is decided once per step of a run.

    step: the present one; -1 before the first. controller: None until the run's timesteps are known. forced: key steps
    that the controller did not choose, each with its reason. errors, expected: measured and estimated, of key steps.
    """

    controller: Controller | None = None
    #: attributes that change during a run
    stateful = (
        "controller", "_supervision", "_changed_at", "_changes_in_a_row", "step", "on_key_step", "_decided",
        "_before_step", "evaluations", "ahead_s", "errors", "expected", "rolled_back", "forced",
    )  # fmt: skip

    def __init__(self, config: StepCaching) -> None:
        self.config = config
        self._given_key_steps: dict[int, str] = {}

    def start(self, schedule: RunSchedule, controller: Controller | None) -> None:
        """Begin a run, with nothing decided."""
        self.schedule: RunSchedule = schedule
        self.controller = controller
        self._supervision = Supervision(schedule.kind)
        self._changed_at, self._changes_in_a_row = -1, 0
        self.step, self.on_key_step = -1, True
        self._decided: list[int] = []  # key steps; windows that take turns follow them at later steps
        self._before_step = 0  # number of `evaluations` before the present step
        self.evaluations: list[Evaluation] = []
        self.ahead_s = 0.0
        self.errors: dict[int, float | None] = {}
        self.expected: dict[int, float | None] = {}
        self.rolled_back: list[tuple[int, int]] = []
        self.forced: dict[int, str] = dict(self._given_key_steps)

    def force(self, steps: Mapping[int, str]) -> None:
        """Make these steps key steps in every run from now on, each with its reason."""
        self._given_key_steps.update(steps)
        self.forced.update(steps)

    def is_key_step(self, context: CallContext, last: int | None) -> bool:
        """Whether a call is of a key step, which is decided once per step for all its branches. last: the last key step
        of this call's branch."""
        if context.step != self.step:
            assert self.controller is not None
            self.finish_step()
            self.step, self._before_step = context.step, len(self.evaluations)
            if last is not None:
                self.controller.start_span(last)
            self.expected[context.step] = self.controller.expected_error(context.step)
            if self._is_late(last):
                self.forced.setdefault(context.step, _LATE)
                self.on_key_step = True
            else:
                self.on_key_step = context.step in self.forced or self.controller.is_key_step(context.step)
                self._decided += [context.step] if self.on_key_step else []
        return self.on_key_step

    def finish_step(self, roll_back: bool = False) -> int | None:
        """Note that all branches of the present step were called, and learn from its error if it is a key step.

        Returns the step to go back to, which will be a key step, if `roll_back` is allowed and the error is far above
        its estimate; else None.
        """
        step, levels = self.step, self.schedule.levels
        if step < 0 or not self.on_key_step or step in self.errors or levels is None or self.controller is None:
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
        self.go_back(back)
        self._decided = [key_step for key_step in self._decided if key_step < back]
        self.step, self.on_key_step = back - 1, False
        return back

    def go_back(self, step: int) -> None:
        """Undo what was cached from this step on."""

    def _is_late(self, last: int | None) -> bool:
        """Whether a branch that was last fully evaluated at this step missed the last key step."""
        return last is not None and bool(self._decided) and last < self._decided[-1]

    def joins_key_step(self, context: CallContext, last: int | None) -> bool:
        """Whether a branch that missed the last key step is fully evaluated at a step whose other branches are not."""
        if self.on_key_step or not self._is_late(last):
            return False
        self.forced.setdefault(context.step, f"{_LATE}, in some branches")
        return True

    def add_key_step(self, context: CallContext, why: str) -> None:
        """Make this step a key step, as there is nothing to propagate from; if a branch of it was propagated, the next
        one instead."""
        assert self.controller is not None
        if self.on_key_step:
            return
        self.forced.setdefault(context.step, why)
        if len(self.evaluations) > self._before_step:
            self.forced.setdefault(context.step + 1, f"{why} at the step before, in one branch")
        else:
            self.controller.retract(context.step)
            self.on_key_step = True

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

    def audits(self) -> bool:
        """Whether the present key step is also propagated, for comparison: the first few, and later ever fewer."""
        return self.config.max_error is not None and len(self.errors) in _AUDITED

    def supervise(
        self,
        context: CallContext,
        expected: ModelOutput | None,
        fresh: ModelOutput,
        latents: torch.Tensor,
        drift: float | None,
    ) -> None:
        """Compare the propagated output of a key step with the model's, or note the drift of the features alone."""
        if self.schedule.levels is None or not self.on_key_step:
            return
        self._supervision.note_drift(drift)
        if expected is not None:
            level = self.schedule.levels[context.step]
            self._supervision.note(first_tensor(expected), first_tensor(fresh), latents, level, context)
