"""Sparse attention as a technique of the loop: attached for one run, told each step, reported in the manifest."""

from __future__ import annotations

import torch

from videogen.attention import SparseAttention, attach
from videogen.backbones.base import Backbone
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import AttachedTechnique, Call


class SparseAttentionTechnique(AttachedTechnique):
    """Every denoiser's long self-attention under one configuration. keep_frames: the clip's latent frames that stay in
    sight."""

    section = "attention"

    def __init__(self, config: SparseAttention, keep_frames: tuple[int, ...] = ()) -> None:
        self.config, self.keep_frames = config, keep_frames

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        grid = backbone.token_grid(state.seen_shape)
        self.handle = attach(backbone.pipeline, self.config, steps=len(plan), grid=grid)

    def evaluate(
        self, row: StepRow, branch: str, latents: torch.Tensor, text: torch.Tensor, call: Call
    ) -> torch.Tensor:
        assert self.handle is not None
        start = int(branch.partition("@")[2] or 0)  # of the window that is evaluated
        seen = tuple(frame - start for frame in self.keep_frames if 0 <= frame - start < latents.shape[2])
        with self.handle.at(row.index, branch, seen):
            return call(latents, text)
