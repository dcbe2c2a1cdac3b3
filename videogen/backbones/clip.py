"""Clip contract: one clip being generated, with its model calls, its solver and its decoder behind one interface.

The loop of `videogen.sampling` asks a clip for predictions and steps; which order draws, layouts and guidance have is
the clip's own. `GuidedClip` serves every family whose model is called with latents, a timestep and text.
Legend: latents [batch, channel, frame, height, width].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from videogen.core.branch import Branch
from videogen.schedulers.solver import Solver
from videogen.schedulers.windows import Window

from .clip_spec import ClipSpec as ClipSpec
from .given import Audio


def _as_given(latents: torch.Tensor) -> torch.Tensor:
    return latents


def _unwrapped(branch: Branch) -> AbstractContextManager[object]:
    return nullcontext()


@dataclass(frozen=True)
class PredictionContext:
    """One step as the loop and its techniques see it.

    index: of the model call, from 0. expert: which of the model's denoisers predicts. timestep: from the solver's
    timestep to the model's, which may be one per latent frame [frames]. model_input: from the latents in the model's
    scale to those it is given. around: entered around each model call with its branch.
    """

    index: int
    guidance_scale: float
    expert: int = 0
    timestep: Callable[[torch.Tensor], torch.Tensor] = _as_given
    model_input: Callable[[torch.Tensor], torch.Tensor] = _as_given
    around: Callable[[Branch], AbstractContextManager[object]] = _unwrapped


class Clip(ABC):
    """One batch of clips being generated. Open it with `Backbone.open`, predict and step it, decode it, close it.

    solver: set up for this run; initial: the latents that the loop begins with; position: index of the next model call,
    None before the first. reenterable: `predict` may be called
    for any step, with any latents, more than once; otherwise windows and snapshots are refused. on_section: called with
    the solver of each further section where a pipeline makes a clip in sections. audio: what was generated with the
    frames, once they are decoded.
    """

    solver: Solver
    initial: torch.Tensor
    reenterable: bool = True
    position: int | None = None
    on_section: Callable[[Solver], None] | None = None
    audio: Audio | None = None

    @abstractmethod
    def predict(self, context: PredictionContext, latents: torch.Tensor, window: Window | None = None) -> torch.Tensor:
        """The guided prediction for the latents; they are those of `window` where one is given."""

    @abstractmethod
    def step(self, index: int, prediction: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """The latents after this model call."""

    @abstractmethod
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels [batch, frame, height, width, 3], fp32 in 0..1."""

    def decode_first_frame(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels [batch, height, width, 3] of the first frame, fp32 in 0..1."""
        return self.decode(latents[:, :, :1])[:, 0]

    @abstractmethod
    def snapshot(self) -> object:
        """All that later steps depend on but the latents, for `restore`."""

    @abstractmethod
    def restore(self, snapshot: object) -> None:
        """Go back to a snapshot of this clip; it can be restored again."""

    def close(self) -> None:
        """Free what the clip holds on the model. Safe to call twice."""
        return None
