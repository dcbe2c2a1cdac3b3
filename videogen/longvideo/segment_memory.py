"""Memory of a segment: what the next one takes over from it, as tensors that the journal stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

# Names in the journal's files, which stay as they are.
_STORED = {
    "predictions": "tail",
    "prediction_mean": "mean",
    "input_mean": "seen",
    "last_latents": "kept",
    "first_prediction_mean": "first_prediction_mean",
    "first_input_mean": "first_input_mean",
}


@dataclass(frozen=True)
class SegmentMemory:
    """All on the CPU; each None where the policy does not need it.

    predictions [steps, c, n, h, w]: those of the segment's last n frames, as the solver got them;
    prediction_mean, input_mean [steps, c, h, w]: means over frames of its predictions and of the model's input;
    last_latents [1, c, n, h, w]: its last frames, finished, for a cross-fade; first_prediction_mean, first_input_mean:
    the means of the scene's first clip.
    """

    predictions: torch.Tensor | None = None
    prediction_mean: torch.Tensor | None = None
    input_mean: torch.Tensor | None = None
    last_latents: torch.Tensor | None = None
    first_prediction_mean: torch.Tensor | None = None
    first_input_mean: torch.Tensor | None = None

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """By their names in the journal."""
        return {_STORED[name]: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> SegmentMemory:
        """What `to_tensors` returned."""
        return cls(**{name: tensors[stored] for name, stored in _STORED.items() if stored in tensors})
