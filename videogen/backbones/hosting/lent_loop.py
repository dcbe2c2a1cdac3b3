"""Lent loop: a pipeline's call in a thread, whose loop asks the engine for each index and each step.

This is the pipeline's side. The engine's side is `HostedClip`; this object does not know it, so that a clip that is
dropped ends its thread.
"""

from __future__ import annotations

import builtins
import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn

from videogen.core.branch import BOTH, Branch

from .draws import Draws
from .handover import Handover
from .loop_form import LoopForm
from .tapped_scheduler import tap_scheduler

#: answer to "next" that ends the loop
END = object()
NEXT, STEP = "next", "step"
_BRANCHES = ("cond", "uncond")


@dataclass
class StepCall:
    """A call of the scheduler's `step` that waits for its answer. real: the scheduler's own `step`."""

    scheduler: Any
    real: Callable[..., Any]
    arguments: inspect.BoundArguments

    @property
    def prediction(self) -> torch.Tensor:
        found: torch.Tensor = self.arguments.arguments["model_output"]
        return found

    @property
    def sample(self) -> torch.Tensor:
        found: torch.Tensor = self.arguments.arguments["sample"]
        return found

    def make(self, prediction: torch.Tensor | None = None, sample: torch.Tensor | None = None) -> Any:
        """What the real step returns, for another prediction or sample where one is given."""
        arguments = self.arguments.arguments
        if prediction is not None:
            arguments["model_output"] = prediction
        if sample is not None:
            arguments["sample"] = sample
        return self.real(*self.arguments.args, **self.arguments.kwargs)


class LentLoop:
    """One run of a pipeline. pipeline: the user's, of which a copy runs; denoisers: whose calls techniques enter."""

    def __init__(
        self, pipeline: Any, form: LoopForm, scheduler: Any, draws: Draws, denoisers: Sequence[nn.Module], batch: int
    ) -> None:
        self.form, self.draws = form, draws
        self.frame: FrameType | None = None
        self.timesteps: list[Any] = []
        self.section = -1
        self.around: Callable[[Branch], AbstractContextManager[object]] | None = None
        self.window: int | None = None
        self._batch, self._calls, self._stepped = batch, 0, False
        self.pipeline = copy.copy(pipeline)
        vars(self.pipeline)["scheduler"] = self.scheduler = tap_scheduler(scheduler, self._tap)
        vars(self.pipeline)["_progress_bar_config"] = {"disable": True}
        self.further_schedulers: list[Any] = []
        self._prepare()
        self._hooks = [hook for model in denoisers for hook in self._hook(model)]
        self._handover: Handover | None = None

    def open(self, arguments: Mapping[str, Any]) -> Handover:
        """A suspended run with these arguments; `begin` it."""
        call, draws = self._call(), self.draws

        def body(handover: Handover) -> Any:
            with draws.answering():
                return call(**arguments)

        self._handover = Handover(body)
        return self._handover

    def close(self) -> None:
        """End the pipeline where it is, and take the hooks off the denoisers. Safe to call twice."""
        if self._handover is not None:
            self._handover.abandon()
        for hook in self._hooks:
            hook.remove()
        self._hooks, self.frame, self.around = [], None, None

    def _prepare(self) -> None:
        """Lend the loop of the pipeline's copy."""
        self._forms = {self.form.function.__code__: self.form}
        self._function = self.form.lend(self._enumerate)

    def _call(self) -> Callable[..., Any]:
        """The call of the pipeline's copy, with the lent loop."""
        pipeline, function = self.pipeline, self._function
        if self.form.method == "__call__":
            return function.__get__(pipeline)  # type: ignore[no-any-return]
        vars(pipeline)[self.form.method] = function.__get__(pipeline)
        return inspect.unwrap(type(pipeline).__call__).__get__(pipeline)  # type: ignore[no-any-return]

    # in the pipeline's thread

    def _enumerate(self, values: Any, start: int = 0) -> Any:
        """`enumerate` of the pipeline's module: at the loop's line, over the indices that the engine asks for."""
        frame = sys._getframe(1)
        form = self._forms.get(frame.f_code)
        if form is None or frame.f_lineno not in form.lines:
            return builtins.enumerate(values, start)
        self.form, self.frame, self.section = form, frame, self.section + 1
        self.timesteps = list(getattr(values, "iterable", values))
        return self._indices()

    def _indices(self) -> Iterator[tuple[int, Any]]:
        assert self._handover is not None
        while (index := self._handover.ask(NEXT)) is not END:
            self._calls, self._stepped = 0, False
            self.draws.begin_step(index)
            yield index, self.timesteps[index]

    def _tap(self, scheduler: Any, real: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A scheduler's `step`: of the video's latents, answered by the engine; else the real one."""
        if not self._is_main_step(sys._getframe(2)):
            return real(*args, **kwargs)
        self._stepped = True
        signature = inspect.signature(type(scheduler).step)
        bound = signature.bind(scheduler, *args, **kwargs)
        call = StepCall(scheduler, lambda _, *a, **k: real(*a, **k), bound)
        assert self._handover is not None
        return self._handover.ask(STEP, call)

    def _is_main_step(self, frame: FrameType) -> bool:
        """Whether this is the first step of the video's latents in a body. frame: of the caller."""
        if self._stepped or self.frame is None:
            return False
        if not self.form.steps:
            return True
        return frame.f_code is self.form.function.__code__ and any(frame.f_lineno in lines for lines in self.form.steps)

    def _hook(self, model: nn.Module) -> tuple[Any, Any]:
        """Enter the techniques' context around each call of a denoiser."""
        stacks: list[ExitStack] = []

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._handover is not None:
                self._handover.check()
            stacks.append(ExitStack())
            if self.around is not None:
                stacks[-1].enter_context(self.around(self._branch(args, kwargs)))

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if stacks:
                stacks.pop().close()

        return (
            model.register_forward_pre_hook(before, with_kwargs=True, prepend=True),
            model.register_forward_hook(after, always_call=True),
        )

    def _branch(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Branch:
        """Which guidance branch a call evaluates, by its batch and its place in the body."""
        number, self._calls = self._calls, self._calls + 1
        given = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor) and value.ndim > 1)
        if number == 0 and len(given) == 2 * self._batch:
            kind = BOTH
        else:
            kind = _BRANCHES[number] if number < len(_BRANCHES) else f"pass-{number}"
        return Branch(kind, window=self.window)
