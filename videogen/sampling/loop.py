"""Denoising loop: predict, step, repeat, for any clip and any set of techniques around it.

All that a run needs to continue is in its `LoopState`, so that a technique can take the run back to an earlier step.
Legend: latents [b, c, f, h, w].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial, reduce

import torch

from videogen.backbones.clip import Clip, PredictionContext
from videogen.core.branch import Branch
from videogen.core.errors import InputError, UnsupportedError
from videogen.schedulers.solver import Solver
from videogen.schedulers.windows import Window, Windows

from .checks import check_finite
from .step_plan import StepRow
from .technique import Technique


@dataclass(frozen=True)
class Saved:
    """State of the clip and of each technique in a snapshot, in the order of the techniques."""

    clip: object
    techniques: tuple[object, ...]


@dataclass(frozen=True)
class LoopState:
    """Where a run stands.

    latents [b, c, f, h, w]; index: model calls done. windows: where the model is given the clip window by window; None:
    all at once. techniques: those of this run, outermost first. saved: set in a snapshot only.
    """

    clip: Clip
    latents: torch.Tensor
    index: int
    windows: Windows | None = None
    techniques: tuple[Technique, ...] = ()
    saved: Saved | None = None

    @property
    def solver(self) -> Solver:
        return self.clip.solver

    @property
    def model_shape(self) -> tuple[int, ...]:
        """[b, c, f, h, w] of what the model is given at once."""
        batch, channels, frames, *sides = self.latents.shape
        return (batch, channels, frames if self.windows is None else self.windows.size, *sides)

    def snapshot(self) -> LoopState:
        """A copy that later steps do not touch: a loop continued from it gives the same result, each time.

        Raises UnsupportedError for a clip that cannot go back, InputError if the clip has moved on since this state.
        """
        if not self.clip.reenterable:
            raise UnsupportedError(
                f"step {self.index} cannot be returned to: this model's pipeline runs its steps in order; switch off "
                "the technique that goes back, such as propagation with roll_back"
            )
        if self.clip.position not in (None, self.index):
            raise InputError(
                f"the clip has moved on to step {self.clip.position} since this state of step {self.index}; take the "
                "snapshot before the next step"
            )
        saved = Saved(self.clip.snapshot(), tuple(technique.snapshot() for technique in self.techniques))
        return replace(self, latents=self.latents.clone(), saved=saved)

    def resumed(self) -> LoopState:
        """The state to continue from: a snapshot puts the clip and the techniques back to where they were."""
        if self.saved is None:
            return self
        self.clip.restore(self.saved.clip)
        for technique, saved in zip(self.techniques, self.saved.techniques, strict=True):
            technique.restore(saved)
        return replace(self, saved=None)


def denoise(state: LoopState, plan: list[StepRow], dtype: torch.dtype) -> Iterator[LoopState]:
    """Yield the state after each remaining step. Closing the iterator between steps stops the run.

    dtype: of the denoiser, for the advice in an error. A technique may answer a step with an earlier state, a snapshot:
    the run then continues from there.
    """
    state = state.resumed()
    while state.index < len(plan):
        row = plan[state.index]
        for technique in state.techniques:
            technique.before_step(row, state)
        prediction = _predict(state, row)
        for technique in state.techniques:
            prediction = technique.prediction(row, state, prediction)
        check_finite(prediction, f"step {row.index + 1} of {len(plan)}", dtype)
        latents = state.clip.step(row.index, prediction, state.latents)
        state = replace(state, latents=latents, index=state.index + 1)
        state = _after_step(state, row).resumed()
        yield state


def _after_step(state: LoopState, row: StepRow) -> LoopState:
    """The state that the techniques continue from. Once one of them goes back, the others are not called."""
    for technique in state.techniques:
        state = technique.after_step(row, state)
        if state.saved is not None:
            break
    return state


def _predict(state: LoopState, row: StepRow) -> torch.Tensor:
    """The guided prediction: for the entire clip, or for each window, averaged where they overlap."""
    techniques = state.techniques
    context = PredictionContext(
        row.index,
        row.guidance_scale,
        row.expert,
        timestep=lambda given: reduce(lambda t, technique: technique.timestep(row, t), techniques, given),
        model_input=lambda given: reduce(lambda x, technique: technique.model_input(row, x), techniques, given),
        around=partial(_around, techniques, row),
    )
    if state.windows is None:
        return state.clip.predict(context, state.latents)

    def predict(window: Window) -> torch.Tensor:
        return state.clip.predict(context, state.latents[:, :, window.slots].contiguous(), window)

    return state.windows.fuse((predict(window) for window in state.windows.at(row.index)), row.index)


def _around(techniques: Sequence[Technique], row: StepRow, branch: Branch) -> AbstractContextManager[object]:
    """The techniques' contexts of one model call; the first technique is outermost."""
    stack = ExitStack()
    for technique in techniques:
        stack.enter_context(technique.around(row, branch))
    return stack
