"""Estimate of the clean latents (x0) that each step's guided prediction implies, for previews.

The latents of a step are still noisy; the estimate shows early what the clip will be. It follows from what the loop has
at hand by the conversion of `videogen.schedulers.parametrization`: no model call, and no step of the solver.
"""

from __future__ import annotations

import torch

from videogen.schedulers.parametrization import clean_latents

from .loop import LoopState
from .step_plan import StepRow
from .technique import Technique


class CleanEstimate(Technique):
    """Observes a run; the last technique of it, so that it sees the prediction that the solver is given."""

    def __init__(self) -> None:
        self._clean: torch.Tensor | None = None

    def prediction(self, row: StepRow, state: LoopState, prediction: torch.Tensor) -> torch.Tensor:
        solver, levels = state.solver, state.solver.levels
        if levels is not None:
            model_input = solver.scale_input(state.latents, row.index)
            self._clean = clean_latents(model_input.float(), prediction.float(), levels[row.index], solver.kind)
        return prediction

    def latents(self, state: LoopState) -> torch.Tensor:
        """The estimate of the last model call, fp32 [b, c, f, h, w]; the state's latents at the end of a run, before
        its first call, and with a solver whose noise levels are not known."""
        at_end = state.index >= len(state.solver.timesteps)
        return state.latents if self._clean is None or at_end else self._clean
