"""Sparse attention as a technique of the loop: attached for one run and reported in the manifest."""

from __future__ import annotations

from contextlib import AbstractContextManager

from videogen.attention import SparseAttention, attach
from videogen.backbones.base import Backbone
from videogen.core.branch import Branch
from videogen.core.errors import UnsupportedError
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import AttachedTechnique


class SparseAttentionTechnique(AttachedTechnique):
    """The long self-attention of every denoiser, under one configuration.

    visible_frames: latent frames of the clip that every query sees, such as those copied from an earlier clip.
    """

    section = "attention"

    def __init__(self, config: SparseAttention, visible_frames: tuple[int, ...] = ()) -> None:
        self.config, self.visible_frames = config, visible_frames

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        if backbone.dense_only:
            raise UnsupportedError(
                f"the attention of {backbone.name!r} cannot be made sparse: {backbone.dense_only}; leave it out"
            )
        self._frames = state.model_shape[2]
        grid = backbone.token_grid(state.model_shape)
        self.handle = attach(backbone.pipeline, self.config, steps=len(plan), grid=grid)

    def around(self, row: StepRow, branch: Branch) -> AbstractContextManager[object]:
        assert self.handle is not None
        start = branch.window or 0
        visible = tuple(frame - start for frame in self.visible_frames if 0 <= frame - start < self._frames)
        # with other LoRA weights it is another model, whose block maps are searched afresh
        weights = "" if row.lora_weights is None else f" LoRAs {row.lora_weights}"
        return self.handle.at(row.index, f"{branch}{weights}", visible)

    def snapshot(self) -> object:
        return None if self.handle is None else self.handle.snapshot()

    def restore(self, snapshot: object) -> None:
        if self.handle is not None and snapshot is not None:
            self.handle.restore(snapshot)
