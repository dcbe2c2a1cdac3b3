"""Technique contract: the fixed points at which the denoising loop calls a technique.

A technique is an object, never a branch in the loop. Sparse attention, propagation, continuity and dual-clock sampling
derive from `Technique` and override what they need; with no technique the loop does exactly what it does without this
file (docs/extending/technique.md).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone
    from videogen.core.branch import Branch

    from .loop import LoopState
    from .step_plan import StepRow


class Technique:
    """Base whose every answer is that of a run without it. Legend: latents [b, c, f, h, w].

    only_observes: whether it changes nothing, so that a run which was stopped can be continued without its past.
    """

    only_observes = False

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        """Before the first step: attach to the model, and extend the plan."""

    def start(self, state: LoopState) -> LoopState:
        """The state to begin from, requested once when all techniques have begun; its index may skip steps."""
        return state

    def before_step(self, row: StepRow, state: LoopState) -> None:
        """Before the model calls of a step. `state.snapshot()` makes a copy to which `after_step` may go back."""

    def timestep(self, row: StepRow, timestep: torch.Tensor) -> torch.Tensor:
        """The timestep that the model is given: the solver's, or one per latent frame [frames] for models that take
        it."""
        return timestep

    def model_input(self, row: StepRow, latents: torch.Tensor) -> torch.Tensor:
        """The latents [b, c, f, h, w] that the model is given, from those of the loop in the model's scale."""
        return latents

    def around(self, row: StepRow, branch: Branch) -> AbstractContextManager[object]:
        """Entered around each model call of a step; branch: which guidance branch, prompt and window it evaluates."""
        return nullcontext()

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        """The guided prediction [b, c, f, h, w] that the solver is given."""
        return prediction

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        """The state to continue from; a snapshot takes the run back to it."""
        return state

    def snapshot(self) -> object:
        """All that this technique's later steps depend on; None where it keeps nothing between steps."""
        return None

    def restore(self, snapshot: object) -> None:
        """Go back to a snapshot; it may be restored again. UnsupportedError where the technique cannot."""

    def end(self) -> dict[str, Any]:
        """After the last step, or an error: detach. The result is recorded in the manifest under `measured`."""
        return {}


class AttachedTechnique(Technique):
    """Base of techniques attached to the model for one run: `begin` sets `handle`, which is reported under `section`
    and closed at the end."""

    section: str
    handle: Any = None

    def end(self) -> dict[str, Any]:
        if self.handle is None:
            return {}
        report = self.handle.report()
        self.close()
        return {self.section: report}

    def close(self) -> None:
        """Detach from the model, without a report."""
        if self.handle is not None:
            self.handle.close()
            self.handle = None
