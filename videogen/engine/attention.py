"""Sparse attention as a technique of the loop: attached for one run, told each step, reported in the manifest."""

from __future__ import annotations

import torch

from videogen.attention import SparseAttention, attach
from videogen.backbones.base import Backbone

from .loop import LoopState
from .plan import StepRow
from .techniques import AttachedTechnique, Call


class SparseAttentionTechnique(AttachedTechnique):
    """Every denoiser's long self-attention under one configuration."""

    section = "attention"

    def __init__(self, config: SparseAttention) -> None:
        self.config = config

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        grid = backbone.token_grid(tuple(state.latents.shape))
        self.handle = attach(backbone.pipeline, self.config, steps=len(plan), grid=grid)

    def evaluate(self, row: StepRow, branch: str, latents: torch.Tensor, text: torch.Tensor, call: Call) -> torch.Tensor:
        assert self.handle is not None
        with self.handle.at(row.index, branch):
            return call(latents, text)
