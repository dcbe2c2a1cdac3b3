"""Other ways to save time that propagation is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tools.bench.propagation import renders
from tools.world import caption, sample_scene
from videogen import Engine
from videogen.propagation.caches import LibraryCache
from videogen.propagation.library import calibrate_magcache
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


def magcache_rivals(engine: Engine) -> Iterator[Rival]:
    """MagCache with ratios measured on this model, which its own table has no row for."""
    prompt = caption(sample_scene(6_000_000, pairs=0, cameras=0))

    pipeline, defaults = engine.backbone.pipeline, engine.backbone.defaults

    def run(_: object) -> None:
        pipeline(
            prompt, num_frames=defaults.frames, width=defaults.width, height=defaults.height, output_type="latent",
            guidance_scale=defaults.guidance_scale, num_inference_steps=renders.STEPS,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip

    ratios = calibrate_magcache(pipeline, run, steps=renders.STEPS)
    technique = LibraryCacheTechnique(LibraryCache("magcache", 0.12), one_branch_per_call=True, mag_ratios=ratios)
    yield Rival("magcache:0.12", {"technique": technique})
