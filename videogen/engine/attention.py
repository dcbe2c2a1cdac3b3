"""Sparse attention as a technique of the loop: attached for one run, told each step, reported in the manifest."""

from __future__ import annotations

from typing import Any

import torch

from videogen.attention import SparseAttention, attach
from videogen.attention.attaching import Handle
from videogen.backbones.base import Backbone

from .loop import LoopState
from .plan import StepRow
from .techniques import Call, Technique


class SparseAttentionTechnique(Technique):
    """Every denoiser's long self-attention under one configuration."""

    def __init__(self, config: SparseAttention) -> None:
        self.config = config
        self._handle: Handle | None = None

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        grid = backbone.token_grid(tuple(state.latents.shape))
        self._handle = attach(backbone.pipeline, self.config, steps=len(plan), grid=grid)

    def evaluate(self, row: StepRow, branch: str, latents: torch.Tensor, text: torch.Tensor, call: Call) -> torch.Tensor:
        assert self._handle is not None
        with self._handle.at(row.index, branch):
            return call(latents, text)

    def end(self) -> dict[str, Any]:
        if self._handle is None:
            return {}
        report = self._handle.report()
        self._handle.close()
        self._handle = None
        return {"attention": report}
