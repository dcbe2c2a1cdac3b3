"""What a key step teaches: by how much propagation would have been wrong there, as a share of the clean latents.

Errors of the branches are combined as guidance combines them: refreshing one branch alone would multiply its error by
the guidance scale, so all branches are judged, and refreshed, together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from videogen.schedulers.levels import NoiseLevel


@dataclass(frozen=True)
class Moment:
    """When a model is called. step: from 0; branch: which of the step's calls; guidance_scale: 1 for none."""

    step: int
    branch: str
    guidance_scale: float


@dataclass
class Supervision:
    """Collects the calls of one step. kind: what the model predicts."""

    kind: str
    _scale: float = 1.0
    _drifts: list[float] = field(default_factory=list)
    _per_drift: float = 1.0  # the error of the clean latents for a relative change of 1 in the kept features
    _errors: list[torch.Tensor] = field(default_factory=list)
    _positive_first: bool = True
    _size: float = 0.0  # rms of the clean latents, the largest seen in this run

    def note(self, expected: torch.Tensor, fresh: torch.Tensor, latents: torch.Tensor, level: NoiseLevel, moment: Moment) -> None:
        """One call at a key step: what propagation would have given and what the model gave, [batch, ...] alike."""
        if not self._errors:
            self._positive_first = not moment.branch.startswith("uncond")
            self._scale = moment.guidance_scale
        self._errors.append((fresh - expected).float())
        if latents.shape == fresh.shape:
            self._size = max(self._size, float(clean_latents(latents.float(), fresh.float(), level, self.kind).square().mean().sqrt()))

    def drifted(self, drift: float | None) -> None:
        """By how much the kept features of one call had changed against what propagation would have given."""
        if drift is not None:
            self._drifts.append(drift)

    def error(self, level: NoiseLevel) -> float | None:
        """The step's error of the clean latents, relative to them; None where nothing was there to compare. Empties the step.

        Where only the features were compared, their change times what an error was to a change when both were known.
        """
        errors, self._errors = self._errors, []
        drift, self._drifts = max(self._drifts, default=None), []
        if not errors:
            return None if drift is None else drift * self._per_drift
        error = self._guided(errors) * level.clean_error(self.kind) / max(self._size, 1e-6)
        if drift:
            self._per_drift = error / drift
        return error

    def _guided(self, errors: list[torch.Tensor]) -> float:
        """The rms error of the guided prediction."""
        scale = self._scale
        if len(errors) == 1 and scale > 1 and errors[0].shape[0] % 2 == 0:
            errors, self._positive_first = list(errors[0].chunk(2)), False
        if len(errors) == 2:
            positive, negative = errors if self._positive_first else errors[::-1]
            total = negative + scale * (positive - negative)
        else:
            total = torch.cat(errors) * max(1.0, scale if len(errors) > 1 else 1.0)
        return float(total.square().mean().sqrt())


def clean_latents(latents: torch.Tensor, prediction: torch.Tensor, level: NoiseLevel, kind: str) -> torch.Tensor:
    """The clean latents that a prediction implies."""
    if kind == "sample":
        return prediction
    if kind == "epsilon":
        return (latents - level.sigma * prediction) / max(level.alpha, 0.05)
    if kind == "flow":
        return latents - level.sigma * prediction
    return level.alpha * latents - level.sigma * prediction
