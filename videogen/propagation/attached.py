"""One denoiser with propagation attached: each call is evaluated whole, propagated, or handed out as it was made
ahead."""

from __future__ import annotations

import inspect
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree as tree

from videogen.core.errors import UnsupportedError

from .calls import Call, same
from .keyframes import KeyFrames
from .making import make_boundary
from .report import Evaluated
from .stubs import Replaced, Uncopied
from .supervision import Moment

if TYPE_CHECKING:
    from .attaching import Handle


class AttachedModel(Uncopied):
    """One denoiser: its boundary, and what was made ahead for it."""

    def __init__(self, name: str, model: nn.Module, owner: Handle) -> None:
        self.name, self._owner, self._model = name, owner, model
        self._signature = inspect.signature(model.forward)
        config = owner.config
        self.key_frames = (
            KeyFrames(model, config.frames, config.frames_gate) if config.frames > 1 else None
        )  # innermost
        try:
            self.boundary = make_boundary(model, config)
        except BaseException:
            if self.key_frames:
                self.key_frames.close()
            raise
        self._conditions: dict[str, dict[str, Any]] = {}
        self._keyed: dict[str, list[int]] = {}  # of each branch, the steps at which it was evaluated whole
        self._called_at: dict[str, int] = {}  # of each branch, the last step
        self._ahead: dict[tuple[str, int], Any] = {}
        self._called = True
        self._replaced = Replaced(model, self._forward)
        self._hooks = [model.register_forward_pre_hook(self._before), model.register_forward_hook(self._after)]

    def _before(self, *_: Any) -> None:
        self._called = False

    def _after(self, *_: Any) -> None:
        """Offloading puts its own forward in our place between runs; from the next call on ours is back, around it."""
        if not self._called:
            self._replaced = Replaced(self._model, self._forward)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        self._called = True
        if torch.is_grad_enabled() and self._model.training:
            raise UnsupportedError("propagation is for inference; put the model into eval() or close() the handle")
        call = Call(self._signature, args, kwargs)
        moment = self._owner.moment(call)
        key = self._owner.is_key(moment, self)
        key = self._must_be_key(moment, call) or key
        stride = moment.step - self._called_at.get(moment.branch, moment.step - 1)  # windows may take turns
        self._called_at[moment.branch] = moment.step
        begun = _now(call.latents)
        try:
            output = self._key(moment, call) if key else self._between(moment, call)
        except BaseException:
            self._forget(moment.branch)  # what was half recorded is worth nothing
            raise
        done = _now(call.latents)
        self._owner.evaluated.append(Evaluated(moment.step, moment.branch, key, done - begun))
        if key and self._decode_ahead(moment, call, max(1, stride)):
            self._owner.ahead_s += _now(call.latents) - done
        return output

    def _must_be_key(self, moment: Moment, call: Call) -> bool:
        """Whether this call must be a key, because nothing is kept that it could stand on."""
        freeu = [getattr(block, "s1", None) for block in getattr(self._model, "up_blocks", ())]
        conditions = call.conditions() | {"the latents' shape": tuple(call.latents.shape), "freeu": freeu}
        before = self._conditions.get(moment.branch)
        self._conditions[moment.branch] = conditions
        changed = before is not None and not same(before, conditions)
        if changed:
            self._forget(moment.branch)
        if not self.boundary.ready(moment.branch):
            self._owner.make_key(moment, "a condition changed" if changed else "nothing was kept yet")
            return True
        return self._owner.joins(moment, self.last_key(moment.branch))

    def last_key(self, branch: str) -> int | None:
        """The step at which this branch was last evaluated whole; None: never in this run."""
        steps = self._keyed.get(branch)
        return steps[-1] if steps else None

    def go_back(self, step: int) -> None:
        """What was kept at this step and after it did not happen. Other windows' last keys may lie before, and stay."""
        for branch, steps in self._keyed.items():
            while steps and steps[-1] >= step:
                steps.pop()
                self.boundary.drop_newest(branch)

    def _key(self, moment: Moment, call: Call) -> Any:
        at, boundary, owner = self._owner.schedule.place(moment.step, call.timestep), self.boundary, self._owner
        expected = None
        if owner.was_key and boundary.ready(moment.branch) and (boundary.costs_nothing or owner.audits(self._model)):
            expected = boundary.replay(moment.branch, (at,), self._run(call), call.latents)
        with self.key_frames.on(moment.branch, call.latents) if self.key_frames else nullcontext():
            output, drift = boundary.key(moment.branch, at, self._run(call), call.latents)
        self._keyed.setdefault(moment.branch, []).append(moment.step)
        owner.supervise(moment, expected, output, call.latents, drift)
        if self.key_frames:
            level = owner.schedule.levels[moment.step] if owner.schedule.levels else None
            self.key_frames.note(moment.branch, call.latents, first_tensor(output), level, owner.schedule.kind)
        return output

    def _between(self, moment: Moment, call: Call) -> Any:
        made = self._ahead.pop((moment.branch, moment.step), None)
        if made is not None:
            return made
        at = self._owner.schedule.place(moment.step, call.timestep)
        return self.boundary.replay(moment.branch, (at,), self._run(call), call.latents)

    def _decode_ahead(self, moment: Moment, call: Call, stride: int) -> bool:
        """All steps up to the next key at which this branch will be called, in one batch or several; whether there were
        any."""
        owner = self._owner
        self._drop_ahead(moment.branch)  # what was not asked for, from an older key
        assert owner.controller is not None
        after = owner.controller.next_key(moment.step)
        timesteps = owner.schedule.timesteps
        if self.boundary.reads_latents or after is None or timesteps is None or not call.repeats:
            return False
        forced = [step for step in owner.forced if step > moment.step]
        steps = list(range(moment.step + stride, min([after, *forced]), stride))
        size = owner.config.micro_batch
        if size == 1 or attends_sparsely(self._model):
            return False
        for part in (steps[i : i + size] for i in range(0, len(steps), size)):
            at = [owner.schedule.place(step, float(timesteps[step])) for step in part]
            many = self.boundary.replay(moment.branch, at, self._run(call), call.latents, timesteps[part])
            leaves, form = tree.tree_flatten(many)
            chunks = [leaf.chunk(len(part)) for leaf in leaves]
            for index, step in enumerate(part):
                self._ahead[moment.branch, step] = tree.tree_unflatten([chunk[index] for chunk in chunks], form)
        return bool(steps)

    def _run(self, call: Call) -> Any:
        return lambda copies, timesteps: call.run(self._replaced.original, copies, timesteps)

    def _forget(self, branch: str) -> None:
        self.boundary.forget(branch)
        if self.key_frames:
            self.key_frames.forget(branch)
        self._keyed.pop(branch, None)
        self._drop_ahead(branch)

    def _drop_ahead(self, branch: str) -> None:
        for made in [place for place in self._ahead if place[0] == branch]:
            del self._ahead[made]

    def forget(self) -> None:
        self.boundary.forget()
        if self.key_frames:
            self.key_frames.forget()
        for kept in (self._conditions, self._keyed, self._called_at, self._ahead):
            kept.clear()

    def close(self) -> None:
        self.forget()
        for hook in self._hooks:
            hook.remove()
        self._replaced.close()
        self.boundary.close()
        if self.key_frames:
            self.key_frames.close()


def first_tensor(output: Any) -> torch.Tensor:
    """The prediction in a model's output, whatever holds it."""
    found: torch.Tensor = next(leaf for leaf in tree.tree_leaves(output) if isinstance(leaf, torch.Tensor))
    return found


def _now(latents: torch.Tensor) -> float:
    """Seconds, when the device that holds these has done its work."""
    if latents.is_cuda:
        torch.cuda.synchronize(latents.device)
    return time.perf_counter()


def attends_sparsely(model: nn.Module) -> bool:
    """Whether sparse attention is attached, whose block maps are of one batch size."""
    owners = (getattr(hook, "__self__", None) for hook in model._forward_pre_hooks.values())
    return any(type(owner).__module__ == "videogen.attention.attaching" for owner in owners)
