"""The fixed points at which the loop asks a technique. A technique is an object, never a branch in the loop.

Sparse attention, propagation, continuity and dual-clock sampling derive from `Technique` and override what they need;
with no technique the loop does exactly what it does without this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone

    from .loop import LoopState
    from .step_plan import StepRow

#: (latents, text embeddings) -> prediction
Call = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Technique:
    """Base whose every answer is 'as without me'."""

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        """Before the first step: attach, and extend the plan."""

    def start(self, state: LoopState) -> LoopState:
        """The state to begin from, asked once when all have begun; its index may be past steps that are to be left
        out."""
        return state

    def timestep(self, row: StepRow, timestep: torch.Tensor) -> torch.Tensor:
        """What the model is told: the solver's timestep, or one a latent frame [frames] for models that take it."""
        return timestep

    def evaluate(
        self, row: StepRow, branch: str, latents: torch.Tensor, text: torch.Tensor, call: Call
    ) -> torch.Tensor:
        """One model evaluation of one guidance branch; `call` is the model, or the next technique."""
        return call(latents, text)

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        """The guided prediction that the solver will see."""
        return prediction

    def after_step(self, row: StepRow, state: LoopState) -> LoopState:
        """The state to go on from; an earlier one (a `snapshot`) takes the run back to it."""
        return state

    def end(self) -> dict[str, Any]:
        """After the last step, or an error: detach. What it returns stands in the manifest under `measured`."""
        return {}


class AttachedTechnique(Technique):
    """Base of what hangs on the model for one run: `begin` sets `handle`, which is reported under `section` and closed
    at the end."""

    section: str
    handle: Any = None

    def end(self) -> dict[str, Any]:
        if self.handle is None:
            return {}
        report = self.handle.report()
        self.handle.close()
        self.handle = None
        return {self.section: report}
