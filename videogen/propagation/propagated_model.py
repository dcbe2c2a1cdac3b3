"""Denoiser with propagation attached: each call is evaluated, propagated, or answered with an output made ahead."""

from __future__ import annotations

import inspect
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as tree

from videogen.core.attachment import ForwardAttachment, attachments_on
from videogen.core.errors import InputError, UnsupportedError

from .build_cut import build_cut
from .cut import CutSnapshot, Forward, ModelOutput
from .key_step_frames import KeyStepFrames
from .library_hooks import has_library_cache
from .model_call import ModelCall, changed_conditions
from .run_report import Evaluation
from .run_state import read_state, write_state
from .supervision import CallContext

if TYPE_CHECKING:
    from .handle import PropagationHandle


_STATEFUL = ("_conditions", "_key_steps", "_last_step", "_ahead")


class PropagatedModel(ForwardAttachment):
    """One denoiser, its cut, and the outputs that were made ahead."""

    kind = "propagation"

    def __init__(self, name: str, model: nn.Module, handle: PropagationHandle) -> None:
        self.name, self.handle, self._model = name, handle, model
        self._signature = inspect.signature(model.forward)
        config = handle.config
        # attached first, as it must be innermost
        self.key_step_frames = KeyStepFrames(model, config.frames, config.frames_gate) if config.frames > 1 else None
        try:
            self.cut = build_cut(model, config)
        except BaseException:
            if self.key_step_frames:
                self.key_step_frames.close()
            raise
        self._conditions: dict[str, dict[str, object]] = {}
        self._key_steps: dict[str, list[int]] = {}  # of each branch
        self._last_step: dict[str, int] = {}  # of each branch
        self._ahead: dict[tuple[str, int], ModelOutput] = {}
        self._called = True
        super().__init__(model)
        self._hooks = [
            model.register_forward_pre_hook(self._before_call),
            model.register_forward_hook(self._after_call),
        ]

    def _before_call(self, *_: object) -> None:
        self._called = False

    def _after_call(self, *_: object) -> None:
        """Attach again, around the present forward, if this one did not run: offloading replaces it between runs."""
        if not self._called:
            self._attach()

    def forward(self, *args: object, **kwargs: object) -> ModelOutput:
        self._called = True
        if torch.is_grad_enabled() and self._model.training:
            raise UnsupportedError("propagation is for inference; put the model into eval() or close() the handle")
        if has_library_cache(self._model):
            raise InputError(
                f"{type(self._model).__name__} had one of diffusers' caches enabled after propagation was attached; "
                "call disable_cache(), or close() the handle"
            )
        call = ModelCall(self._signature, args, kwargs)
        context = self.handle.context(call)
        is_key_step = self.handle.is_key_step(context, self)
        is_key_step = self._must_evaluate(context, call) or is_key_step
        stride = context.step - self._last_step.get(context.branch, context.step - 1)  # windows may take turns
        self._last_step[context.branch] = context.step
        begin = _synchronized_time(call.latents)
        try:
            output = self._evaluate(context, call) if is_key_step else self._propagate(context, call)
        except BaseException:
            self._forget(context.branch)  # features that were recorded in part cannot be used
            raise
        end = _synchronized_time(call.latents)
        self.handle.evaluations.append(Evaluation(context.step, context.branch, is_key_step, end - begin))
        if is_key_step and self._make_ahead(context, call, max(1, stride)):
            self.handle.ahead_s += _synchronized_time(call.latents) - end
        return output

    def _must_evaluate(self, context: CallContext, call: ModelCall) -> bool:
        """Whether this call must be fully evaluated because no cached features fit it."""
        freeu = [getattr(block, "s1", None) for block in self._up_blocks()]
        conditions = call.conditions() | {"the latents' shape": tuple(call.latents.shape), "freeu": freeu}
        before = self._conditions.get(context.branch)
        self._conditions[context.branch] = conditions
        changed = [] if before is None else changed_conditions(before, conditions)
        if changed:
            self._forget(context.branch)
            self.handle.note_changed(context, changed)
        if not self.cut.ready(context.branch):
            self.handle.add_key_step(context, "a condition changed" if changed else "nothing was cached yet")
            return True
        return self.handle.joins_key_step(context, self.last_key_step(context.branch))

    def _up_blocks(self) -> list[nn.Module]:
        blocks = getattr(self._model, "up_blocks", None)
        return list(blocks) if isinstance(blocks, nn.ModuleList) else []

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

    def _evaluate(self, context: CallContext, call: ModelCall) -> ModelOutput:
        handle, cut = self.handle, self.cut
        position = handle.schedule.position(context.step, call.timestep)
        expected = None
        if handle.on_key_step and cut.ready(context.branch) and (cut.costs_nothing or handle.audits(self._model)):
            expected = cut.replay(context.branch, (position,), self._forward_of(call), call.latents)
        with self.key_step_frames.select(context.branch, call.latents) if self.key_step_frames else nullcontext():
            output, drift = cut.evaluate(context.branch, position, self._forward_of(call), call.latents)
        self._key_steps.setdefault(context.branch, []).append(context.step)
        handle.supervise(context, expected, output, call.latents, drift)
        if self.key_step_frames:
            level = handle.schedule.levels[context.step] if handle.schedule.levels else None
            self.key_step_frames.note(context.branch, call.latents, first_tensor(output), level, handle.schedule.kind)
        return output

    def _propagate(self, context: CallContext, call: ModelCall) -> ModelOutput:
        output = self._ahead.pop((context.branch, context.step), None)
        if output is not None:
            return output
        position = self.handle.schedule.position(context.step, call.timestep)
        return self.cut.replay(context.branch, (position,), self._forward_of(call), call.latents)

    def _make_ahead(self, context: CallContext, call: ModelCall, stride: int) -> bool:
        """Predict the steps up to the next key step at which this branch will be called, in one batch or several.
        Returns whether there were any."""
        handle = self.handle
        self._drop_ahead(context.branch)  # outputs of an older key step that were not used
        assert handle.controller is not None
        following = handle.controller.next_key_step(context.step)
        timesteps = handle.schedule.timesteps
        if self.cut.reads_latents or following is None or timesteps is None or not call.known_ahead:
            return False
        forced = [step for step in handle.forced if step > context.step]
        steps = list(range(context.step + stride, min([following, *forced]), stride))
        size = handle.config.micro_batch
        if size == 1 or has_fixed_batch(self._model):
            return False
        for part in (steps[i : i + size] for i in range(0, len(steps), size)):
            positions = [handle.schedule.position(step, float(timesteps[step])) for step in part]
            outputs = self.cut.replay(context.branch, positions, self._forward_of(call), call.latents, timesteps[part])
            leaves, structure = tree.tree_flatten(outputs)
            per_step = [leaf.chunk(len(part)) for leaf in leaves]
            for index, step in enumerate(part):
                output = tree.tree_unflatten([parts[index] for parts in per_step], structure)
                self._ahead[context.branch, step] = output
        return bool(steps)

    def _forward_of(self, call: ModelCall) -> Forward:
        return lambda copies, timesteps: call.run(self.original, copies, timesteps)

    def _forget(self, branch: str) -> None:
        self.cut.forget(branch)
        if self.key_step_frames:
            self.key_step_frames.forget(branch)
        self._key_steps.pop(branch, None)
        self._drop_ahead(branch)

    def _drop_ahead(self, branch: str) -> None:
        for call in [call for call in self._ahead if call[0] == branch]:
            del self._ahead[call]

    def snapshot(self) -> tuple[CutSnapshot, dict[str, Any]]:
        """All that later steps depend on. UnsupportedError where key steps compute some frames only."""
        if self.key_step_frames:
            raise UnsupportedError(
                f"frames={self.handle.config.frames} caches features within the layers, so no technique can go back to "
                "an earlier step; leave one of them out"
            )
        return self.cut.snapshot(), read_state(self, _STATEFUL)

    def restore(self, snapshot: tuple[CutSnapshot, dict[str, Any]]) -> None:
        """Go back to a snapshot of this model; it can be restored again."""
        cut, state = snapshot
        self.cut.restore(cut)
        write_state(self, state)

    def forget(self) -> None:
        """Drop all cached features and decisions, for a new run."""
        self.cut.forget()
        if self.key_step_frames:
            self.key_step_frames.forget()
        for stored in (self._conditions, self._key_steps, self._last_step, self._ahead):
            stored.clear()

    def close(self) -> None:
        self.forget()
        for hook in self._hooks:
            hook.remove()
        self.detach()
        self.cut.close()
        if self.key_step_frames:
            self.key_step_frames.close()


def first_tensor(output: ModelOutput) -> torch.Tensor:
    """The prediction in a model's output, which may be a tensor, a tuple or an output class."""
    found: torch.Tensor = next(leaf for leaf in tree.tree_leaves(output) if isinstance(leaf, torch.Tensor))
    return found


def _synchronized_time(latents: torch.Tensor) -> float:
    """The time in seconds, after the device of these latents has finished its work."""
    if latents.is_cuda:
        torch.cuda.synchronize(latents.device)
    return time.perf_counter()


def has_fixed_batch(model: nn.Module) -> bool:
    """Whether another attachment needs calls of one batch size, such as sparse attention for its block maps."""
    return any(attachment.fixed_batch for attachment in attachments_on(model))
