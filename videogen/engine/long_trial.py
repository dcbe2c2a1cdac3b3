"""`continuity="measured"`: a clip's first seconds under each policy that the model can, and the one whose joins show least.

Of those that move as a single clip does, the least median seam ratio wins; where none moves, the one that moves most. What a policy
does hangs on the model more than on the prompt, so two joins tell.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from videogen.backbones.base import Backbone
from videogen.longvideo.continuity import MEASURED
from videogen.metrics.freeze import changes

from .events import Progress, ProgressCallback, report
from .long_run import LongRun
from .request import RenderRequest

CLIPS = 2.5  # how long a trial is, in the model's own clips: two joins of most policies
LIVELY = 0.8  # of a single clip's motion: what moves less is about to freeze


def settled(
    backbone: Backbone, request: RenderRequest, progress: ProgressCallback | None = None
) -> tuple[RenderRequest, dict[str, Any] | None]:
    """(a resolved long request with its policy, each policy's figures); as it came, and None, where it names its policy."""
    if request.continuity != MEASURED:
        return request, None
    figures: dict[str, Any] = {}
    names = candidates(backbone)
    for done, name in enumerate(("independent", *names)):
        report(progress, Progress("trial", done, len(names) + 1, 0.0))
        figures[name] = _tried(backbone, request, name)
    plain = figures.pop("independent")["motion"]
    for row in figures.values():
        row["motion"] = round(row["motion"] / max(plain, 1e-9), 3)
    chosen = best(figures)
    return replace(request, continuity=chosen).resolve(backbone), {"chosen": chosen, "policies": figures}


def candidates(backbone: Backbone) -> tuple[str, ...]:
    """The policies that a model can do, the cheap ones first."""
    able = {"clean_prefix": backbone.capabilities.per_frame_timesteps, "window_attention": bool(backbone.temporal_blocks())}
    names = ("replay", "overlap", "clean_prefix", "window_attention", "co_denoise", "cono")
    return tuple(name for name in names if able.get(name, True))


def best(figures: Mapping[str, Mapping[str, float]]) -> str:
    """The policy of the least seams among those that move enough."""
    lively = [name for name, row in figures.items() if row["motion"] >= LIVELY]
    if not lively:
        return max(figures, key=lambda name: figures[name]["motion"])
    return min(lively, key=lambda name: figures[name]["seam_ratio"])


def _tried(backbone: Backbone, request: RenderRequest, name: str) -> dict[str, Any]:
    """A short render under one policy: median seam ratio, motion (levels a frame), seconds."""
    assert request.frames and request.window
    frames = request.window if name == "independent" else min(request.frames, round(CLIPS * request.window))
    short = replace(request, continuity=name, frames=frames, retries=0)
    if request.story is not None:  # its first prompt throughout
        of_shots: dict[str, Any] = {"motion_strength": None, "motion_backend": None, "motion_picture": None}
        short = replace(short, story=None, **({} if request.motion else of_shots))
    begun = time.perf_counter()
    run = LongRun(backbone, short.resolve(backbone))
    made = np.concatenate(list(run.frames()))
    ratio = run.meter.report().median_ratio
    seconds = round(time.perf_counter() - begun, 3)
    return {"seam_ratio": round(1.0 if ratio is None else ratio, 3), "motion": float(changes(made).mean()), "seconds": seconds}
