"""One denoiser of a propagated run: each call is evaluated, propagated, or answered with an output made ahead."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from torch.utils import _pytree as tree

from videogen.core.errors import UnsupportedError

from .cut import Cut, CutSnapshot, ModelOutput
from .denoiser_call import Decision, DenoiserCall, changed_conditions
from .key_step_frames import KeyStepFrames
from .run_report import Evaluation, synchronized_time
from .run_state import read_state, write_state
from .supervision import CallContext, first_tensor

if TYPE_CHECKING:
    from .run import PropagationRun

_STATEFUL = ("_conditions", "_key_steps", "_last_step", "ahead")


class DenoiserRun:
    """One denoiser, its cut, and the outputs that were made ahead.

    frames: the frame subset of key steps, if these compute some frames only. fixed_batch: whether calls need one batch
    size and come once per step, because something else caches by call, such as sparse attention its block maps. ahead:
    outputs by (branch, step).
    """

    def __init__(
        self,
        run: PropagationRun,
        cut: Cut,
        frames: KeyStepFrames | None = None,
        fixed_batch: Callable[[], bool] = lambda: False,
    ) -> None:
        self.run, self.cut, self.frames, self.fixed_batch = run, cut, frames, fixed_batch
        self.ahead: dict[tuple[str, int], ModelOutput] = {}
        self._conditions: dict[str, dict[str, object]] = {}
        self._key_steps: dict[str, list[int]] = {}  # of each branch
        self._last_step: dict[str, int] = {}  # of each branch

    def decide(self, context: CallContext, call: DenoiserCall) -> Decision:
        """Whether a call is evaluated; decided once per step for all branches, unless nothing cached fits this one."""
        is_key_step = self.run.is_key_step(context, self.last_key_step(context.branch))
        is_key_step = self._must_evaluate(context, call) or is_key_step
        stride = context.step - self._last_step.get(context.branch, context.step - 1)  # windows may take turns
        self._last_step[context.branch] = context.step
        return Decision(context, call, is_key_step, stride)

    def evaluate(self, decision: Decision) -> ModelOutput:
        """The output of a key step, which is cached."""
        output, end = self._run(decision, self._evaluate)
        if self._make_ahead(decision.context, decision.call, max(1, decision.stride)):
            self.run.ahead_s += synchronized_time(decision.call.latents) - end
        return output

    def propagate(self, decision: Decision) -> ModelOutput:
        """The output of a step between key steps."""
        return self._run(decision, self._propagate)[0]

    def call(self, context: CallContext, call: DenoiserCall) -> ModelOutput:
        """The output of a call, evaluated or propagated."""
        decision = self.decide(context, call)
        return self.evaluate(decision) if decision.is_key_step else self.propagate(decision)

    def _run(
        self, decision: Decision, run: Callable[[CallContext, DenoiserCall], ModelOutput]
    ) -> tuple[ModelOutput, float]:
        """(output, the time in seconds after it)."""
        context, latents = decision.context, decision.call.latents
        begin = synchronized_time(latents)
        try:
            output = run(context, decision.call)
        except BaseException:
            self.forget_branch(context.branch)  # features that were recorded in part cannot be used
            raise
        end = synchronized_time(latents)
        self.run.evaluations.append(Evaluation(context.step, context.branch, decision.is_key_step, end - begin))
        return output, end

    def _must_evaluate(self, context: CallContext, call: DenoiserCall) -> bool:
        """Whether this call must be fully evaluated because no cached features fit it."""
        conditions = {**call.conditions, "the latents' shape": tuple(call.latents.shape)}
        before = self._conditions.get(context.branch)
        self._conditions[context.branch] = conditions
        changed = [] if before is None else changed_conditions(before, conditions)
        if changed:
            self.forget_branch(context.branch)
            self.run.note_changed(context, changed)
        if not self.cut.ready(context.branch):
            self.run.add_key_step(context, "a condition changed" if changed else "nothing was cached yet")
            return True
        return self.run.joins_key_step(context, self.last_key_step(context.branch))

    def last_key_step(self, branch: str) -> int | None:
        """The step at which this branch was last fully evaluated; None: never in this run."""
        steps = self._key_steps.get(branch)
        return steps[-1] if steps else None

    def go_back(self, step: int) -> None:
        """Undo key steps from this step on. The last key steps of other windows may lie before it, and stay."""
        for branch, steps in self._key_steps.items():
            while steps and steps[-1] >= step:
                steps.pop()
                self.cut.drop_newest(branch)

    def _evaluate(self, context: CallContext, call: DenoiserCall) -> ModelOutput:
        run, cut, frames = self.run, self.cut, self.frames
        position = run.schedule.position(context.step, call.timestep)
        expected = None
        if run.on_key_step and cut.ready(context.branch) and (cut.costs_nothing or self._is_audited()):
            expected = cut.replay(context.branch, (position,), call.forward, call.latents)
        with frames.select(context.branch, call.latents) if frames else nullcontext():
            output, drift = cut.evaluate(context.branch, position, call.forward, call.latents)
        self._key_steps.setdefault(context.branch, []).append(context.step)
        run.supervise(context, expected, output, call.latents, drift)
        if frames:
            level = run.schedule.levels[context.step] if run.schedule.levels else None
            frames.note(context.branch, call.latents, first_tensor(output), level, run.schedule.kind)
        return output

    def _is_audited(self) -> bool:
        return self.run.audits() and not self.fixed_batch()

    def _propagate(self, context: CallContext, call: DenoiserCall) -> ModelOutput:
        output = self.ahead.pop((context.branch, context.step), None)
        if output is not None:
            return output
        position = self.run.schedule.position(context.step, call.timestep)
        return self.cut.replay(context.branch, (position,), call.forward, call.latents)

    def _make_ahead(self, context: CallContext, call: DenoiserCall, stride: int) -> bool:
        """Predict the steps up to the next key step at which this branch will be called, in one batch or several.
        Returns whether there were any."""
        run = self.run
        self._drop_ahead(context.branch)  # outputs of an older key step that were not used
        assert run.controller is not None
        following = run.controller.next_key_step(context.step)
        timesteps = run.schedule.timesteps
        if self.cut.reads_latents or following is None or timesteps is None or not call.known_ahead:
            return False
        forced = [step for step in run.forced if step > context.step]
        steps = list(range(context.step + stride, min([following, *forced]), stride))
        size = run.config.micro_batch
        if size == 1 or self.fixed_batch():
            return False
        for part in (steps[i : i + size] for i in range(0, len(steps), size)):
            positions = [run.schedule.position(step, float(timesteps[step])) for step in part]
            outputs = self.cut.replay(context.branch, positions, call.forward, call.latents, timesteps[part])
            leaves, structure = tree.tree_flatten(outputs)
            per_step = [leaf.chunk(len(part)) for leaf in leaves]
            for index, step in enumerate(part):
                self.ahead[context.branch, step] = tree.tree_unflatten([parts[index] for parts in per_step], structure)
        return bool(steps)

    def forget_branch(self, branch: str) -> None:
        """Drop all that is cached of one branch."""
        self.cut.forget(branch)
        if self.frames:
            self.frames.forget(branch)
        self._key_steps.pop(branch, None)
        self._drop_ahead(branch)

    def _drop_ahead(self, branch: str) -> None:
        for call in [call for call in self.ahead if call[0] == branch]:
            del self.ahead[call]

    def snapshot(self) -> tuple[CutSnapshot, dict[str, Any]]:
        """All that later steps depend on. UnsupportedError where key steps compute some frames only."""
        if self.frames:
            raise UnsupportedError(
                f"frames={self.run.config.frames} caches features within the layers, so no technique can go back to an "
                "earlier step; leave one of them out"
            )
        return self.cut.snapshot(), read_state(self, _STATEFUL)

    def restore(self, snapshot: tuple[CutSnapshot, dict[str, Any]]) -> None:
        """Go back to a snapshot of this denoiser; it can be restored again."""
        cut, state = snapshot
        self.cut.restore(cut)
        write_state(self, state)

    def forget(self) -> None:
        """Drop all cached features and decisions, for a new run."""
        self.cut.forget()
        if self.frames:
            self.frames.forget()
        for stored in (self._conditions, self._key_steps, self._last_step, self.ahead):
            stored.clear()
