"""Planned clip: the shape and the solver of a clip that is not generated, for checks before a model is loaded."""

from __future__ import annotations

from typing import NoReturn

import torch

from videogen.schedulers.solver import Solver
from videogen.schedulers.windows import Window

from .clip import Clip, ClipSpec, PredictionContext
from .geometry import LatentGeometry


class PlannedClip(Clip):
    """initial: latents [1, c, f, h, w] without values."""

    def __init__(self, solver: Solver, geometry: LatentGeometry, spec: ClipSpec) -> None:
        self.solver = solver
        self.initial = torch.empty(geometry.shape(spec.frames, spec.height, spec.width))

    def predict(self, context: PredictionContext, latents: torch.Tensor, window: Window | None = None) -> NoReturn:
        raise NotImplementedError("a planned clip is not generated")

    def step(self, index: int, prediction: torch.Tensor, latents: torch.Tensor) -> NoReturn:
        raise NotImplementedError("a planned clip is not generated")

    def decode(self, latents: torch.Tensor) -> NoReturn:
        raise NotImplementedError("a planned clip is not generated")

    def snapshot(self) -> None:
        return None

    def restore(self, snapshot: object) -> None:
        return None
