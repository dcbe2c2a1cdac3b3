"""Feature cache of diffusers as a technique of the loop, with separate states per guidance branch, reported in the
manifest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from videogen.backbones.base import Backbone
from videogen.core.branch import Branch
from videogen.core.errors import UnsupportedError
from videogen.propagation.caches import LibraryCache
from videogen.propagation.library import attach_library
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import AttachedTechnique


class LibraryCacheTechnique(AttachedTechnique):
    """One of the library's caches in every denoiser.

    one_branch_per_call: whether each model call evaluates a single guidance branch, or there is no guidance.
    mag_ratios: the magnitude ratios that magcache needs, from `calibrate_magcache`.
    """

    section = "propagation"

    def __init__(
        self, cache: LibraryCache, *, one_branch_per_call: bool, mag_ratios: Sequence[float] | None = None
    ) -> None:
        self.cache, self._one_branch_per_call, self._mag_ratios = cache, one_branch_per_call, mag_ratios

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        self.handle = attach_library(
            backbone.pipeline,
            self.cache,
            steps=len(plan),
            mag_ratios=self._mag_ratios,
            is_guidance_distilled=self._one_branch_per_call,
        )

    def around(self, row: StepRow, branch: Branch) -> AbstractContextManager[object]:
        assert self.handle is not None
        return self.handle.at(row.index, str(branch), timestep=row.timestep, sigma=row.sigma)

    def restore(self, snapshot: object) -> None:
        """UnsupportedError: diffusers' caches cannot return to an earlier step."""
        raise UnsupportedError(
            f"{self.cache.name} cannot return to an earlier step; leave it out, or the technique that goes back"
        )
