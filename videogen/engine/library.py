"""One of diffusers' own feature caches as a technique of the loop, kept apart by guidance branch and reported in the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.propagation.caches import LibraryCache
from videogen.propagation.library import LibraryHandle, attach_library

from .loop import LoopState
from .plan import StepRow
from .techniques import Call, Technique


class LibraryCacheTechnique(Technique):
    """Every denoiser under one of the library's caches. mag_ratios: what magcache needs, from `calibrate_magcache`."""

    def __init__(self, cache: LibraryCache, *, one_branch_a_call: bool, mag_ratios: Sequence[float] | None = None) -> None:
        self.cache, self._apart, self._mag_ratios = cache, one_branch_a_call, mag_ratios
        self._handle: LibraryHandle | None = None

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self._handle = attach_library(
            backbone.pipeline, self.cache, steps=len(plan), mag_ratios=self._mag_ratios, is_guidance_distilled=self._apart
        )

    def evaluate(self, row: StepRow, branch: str, latents: torch.Tensor, text: torch.Tensor, call: Call) -> torch.Tensor:
        assert self._handle is not None
        with self._handle.at(row.index, branch, timestep=row.timestep, sigma=row.sigma):
            return call(latents, text)

    def end(self) -> dict[str, Any]:
        if self._handle is None:
            return {}
        report = self._handle.report()
        self._handle.close()
        self._handle = None
        return {"propagation": report}
