"""Propagation error at a key step: the error that propagation would have made there, relative to the clean latents.

Errors of the branches are combined as guidance combines the branches: refreshing one branch alone would multiply its
error by the guidance scale, so all branches are compared, and refreshed, together. If a step evaluates several windows
of a clip, the name of a branch ends in `@` and its window, and each window is guided separately.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as tree

from videogen.schedulers.levels import NoiseLevel
from videogen.schedulers.parametrization import clean_error, clean_latents


@dataclass(frozen=True)
class CallContext:
    """The step of a model call, from 0, its branch among the calls of the step, and the guidance scale, 1 for none."""

    step: int
    branch: str
    guidance_scale: float


@dataclass
class Supervision:
    """The errors of the model calls of one step. kind: of the model's prediction."""

    kind: str
    _scale: float = 1.0
    _drifts: list[float] = field(default_factory=list)
    _per_drift: float = 1.0  # the error of the clean latents for a relative change of 1 in the cached features
    # window -> (guidance branch, its error)
    _errors: dict[str, list[tuple[str, torch.Tensor]]] = field(default_factory=dict)
    _size: float = 0.0  # rms of the clean latents, the largest in this run; 0: unknown, so taken as 1

    def note(
        self,
        expected: torch.Tensor,
        fresh: torch.Tensor,
        latents: torch.Tensor,
        level: NoiseLevel,
        context: CallContext,
    ) -> None:
        """Add one call at a key step: the propagated output and the model's output, both [batch, ...]."""
        if not self._errors:
            self._scale = context.guidance_scale
        branch, _, window = context.branch.partition("@")
        self._errors.setdefault(window, []).append((branch, (fresh - expected).float()))
        noisy = noisy_part(latents, fresh)
        if noisy is not None:
            clean = clean_latents(noisy.float(), fresh.float(), level, self.kind)
            self._size = max(self._size, float(clean.square().mean().sqrt()))

    def note_drift(self, drift: float | None) -> None:
        """Add the relative error of the cached features of one call; None if nothing was compared."""
        if drift is not None:
            self._drifts.append(drift)

    def error(self, level: NoiseLevel) -> float | None:
        """The relative error of the clean latents at this step; None if nothing was compared. Resets the step.

        If only the features were compared, it is their drift times the last known ratio of error to drift.
        """
        errors, self._errors = self._errors, {}
        drift, self._drifts = max(self._drifts, default=None), []
        if not errors:
            return None if drift is None else drift * self._per_drift
        error = self._joint(list(errors.values())) * clean_error(level, self.kind) / (self._size or 1.0)
        if drift:
            self._per_drift = error / drift
        return error

    def _joint(self, windows: list[list[tuple[str, torch.Tensor]]]) -> float:
        """The rms error of the guided prediction, over all windows; they may differ in size."""
        if len(windows) == 1:
            return float(self._guided(windows[0]).square().mean().sqrt())
        totals = [self._guided(errors) for errors in windows]
        return (sum(float(total.square().sum()) for total in totals) / sum(total.numel() for total in totals)) ** 0.5

    def _guided(self, branches: list[tuple[str, torch.Tensor]]) -> torch.Tensor:
        """The error of one window's guided prediction."""
        scale, errors = self._scale, [error for _, error in branches]
        if all(branch.startswith("cond") for branch, _ in branches):  # several prompts of one clip, without guidance
            return torch.cat(errors)
        positive_first = not branches[0][0].startswith("uncond")
        if len(errors) == 1 and scale > 1 and errors[0].shape[0] % 2 == 0:
            errors, positive_first = list(errors[0].chunk(2)), False
        if len(errors) == 2:
            positive, negative = errors if positive_first else errors[::-1]
            return negative + scale * (positive - negative)
        return torch.cat(errors) * max(1.0, scale if len(errors) > 1 else 1.0)


def noisy_part(latents: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor | None:
    """The part of a model's input that it denoises: all of it, or the first channels if a condition follows; None if
    the shapes do not fit either."""
    if latents.shape == prediction.shape:
        return latents
    if latents.ndim != prediction.ndim:
        return None
    differ = [axis for axis in range(latents.ndim) if latents.shape[axis] != prediction.shape[axis]]
    if len(differ) != 1 or latents.shape[differ[0]] < prediction.shape[differ[0]]:
        return None
    return latents.narrow(differ[0], 0, prediction.shape[differ[0]])


def first_tensor(output: Any) -> torch.Tensor:
    """The prediction in a model's output, which may be a tensor, a tuple or an output class."""
    found: torch.Tensor = next(leaf for leaf in tree.tree_leaves(output) if isinstance(leaf, torch.Tensor))
    return found
