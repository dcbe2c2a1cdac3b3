"""Other ways to save time that propagation is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tools.bench.propagation import renders
from tools.world import caption, sample_scene
from videogen import Engine
from videogen.core.branch import Branch
from videogen.propagation.caches import LibraryCache
from videogen.propagation.library import calibrate_magcache
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique
from videogen.techniques.feature_cache import LibraryCacheTechnique


@dataclass(frozen=True)
class Rival:
    """A way to save time: keywords of `Engine.generate`."""

    name: str
    options: dict[str, Any]


def rivals(model: str) -> Iterator[Rival]:
    """Propagation at several budgets, and the methods that the model's kind supports."""
    for promise in (0.02, 0.05, 0.1, 0.2):
        yield Rival(f"max_error:{promise}", {"propagate": f"max_error:{promise}"})
    for steps in (25, 20):
        yield Rival(f"plain, {steps} steps", {"steps": steps})
    if model == "embedded-unet":
        yield Rival("fd", {"propagate": "fd"})
        yield Rival(
            "fd, one by one", {"propagate": {"keys": "fd", "boundary": "fd", "predictor": "hold", "micro_batch": 1}}
        )
        for error in (0.1, 0.2):
            yield Rival(f"cut:1,1, max_error:{error}", {"propagate": {"max_error": error, "boundary": "cut:1,1"}})
        yield Rival("deepcache:3", {"propagate": "deepcache:3"})
    else:
        yield Rival("blocks:1,1, max_error:0.1", {"propagate": {"max_error": 0.1, "boundary": "blocks:1,1"}})
        for spec in ("first-block:0.1", "taylorseer:3", "seacache:0.5", "pab:2"):
            yield Rival(spec, {"propagate": spec})


class StepReporter(Technique):
    """Reports each step to a handle of diffusers' caches, and leaves it attached."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def around(self, row: StepRow, branch: Branch) -> AbstractContextManager[object]:
        context: AbstractContextManager[object] = self.handle.at(
            row.index, str(branch), timestep=row.timestep, sigma=row.sigma
        )
        return context


def magcache_rivals(engine: Engine) -> Iterator[Rival]:
    """MagCache with ratios measured on this model, which its own table has no row for."""
    prompt = caption(sample_scene(6_000_000, pairs=0, cameras=0))

    def run(handle: Any) -> None:
        engine.generate(prompt, seed=1, steps=renders.STEPS, techniques=[StepReporter(handle)])

    ratios = calibrate_magcache(engine.backbone.pipeline, run, steps=renders.STEPS)
    technique = LibraryCacheTechnique(LibraryCache("magcache", 0.12), one_branch_per_call=True, mag_ratios=ratios)
    yield Rival("magcache:0.12", {"technique": technique})
