"""`continuity="measured"`: a clip's first seconds under several policies, and the one whose joins show least.

Of those that move about as a single clip does, the one whose median seam ratio is nearest to 1 wins. What a policy does
hangs on the model more than on the prompt, so a few joins tell. It costs some single clips for each policy, before the
first frame is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError, UnsupportedError
from videogen.metrics.freeze import STILL_LEVELS, changes
from videogen.request.continuity import MEASURED, Continuity
from videogen.request.continuity_policies import trial_names
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.progress import Progress, ProgressCallback, report

from .run import LongRun

CLIPS = 3.5  # how long a trial is, in clips: so long that each policy shows joins with frames on either side
LIVELY = 0.8  # of a single clip's motion: what moves less is about to freeze


def settled(
    backbone: Backbone, request: ResolvedRequest, progress: ProgressCallback | None = None
) -> tuple[ResolvedRequest, dict[str, Any] | None]:
    """(a resolved long request with its policy, what a trial found); as it came, and None, where it names its policy.

    The trial holds the policy `chosen`, the figures of all (`policies`: median seam ratio, None where no join could be
    judged, and motion against a single clip's), and why others were not tried (`refused`). Raises as rendering does;
    InputError where none fits.
    """
    if request.continuity != MEASURED:
        return request, None
    able, refused = candidates(backbone, request)
    if not able:
        raise InputError(f"continuity='measured': no policy can be tried ({'; '.join(refused.values())}); name one")
    single = _short(backbone, request, Continuity("independent"), request.window)
    runs = {"": single, **able}
    figures: dict[str, Any] = {}
    for number, (name, short) in enumerate(runs.items()):
        figures[name] = _tried(backbone, short, _share_of(progress, number, len(runs)))
    plain = figures.pop("")["motion"]
    for row in figures.values():
        row["motion"] = round(row["motion"] / max(plain, 1e-9), 3)
    chosen = best(figures, still=plain < STILL_LEVELS)
    return replace(request.filled, continuity=chosen).resolve(backbone), {
        "chosen": chosen,
        "policies": figures,
        "refused": refused,
    }


def candidates(backbone: Backbone, request: ResolvedRequest) -> tuple[dict[str, ResolvedRequest], dict[str, str]]:
    """(the trial of each policy that can make this request, why the others cannot)."""
    able: dict[str, ResolvedRequest] = {}
    refused: dict[str, str] = {}
    for name in trial_names():
        policy = Continuity.parse(name)
        try:
            replace(request.filled, continuity=policy).resolve(backbone)  # as it would be made
            trial = replace(policy, windows=2)  # short sections, which join within the trial
            able[name] = _short(backbone, request, trial, round(CLIPS * request.window))
        except (InputError, UnsupportedError) as error:
            refused[name] = str(error)
    return able, refused


def best(figures: Mapping[str, Mapping[str, Any]], *, still: bool = False) -> str:
    """The policy of the least seams among those that move enough; where none does, the one that moves most as a single
    clip does.

    still: the single clip itself rests, so that motion tells nothing.
    """
    lively = [name for name, row in figures.items() if still or row["motion"] >= LIVELY]
    judged = [name for name in lively if figures[name]["seam_ratio"] is not None]
    if judged:
        return min(judged, key=lambda name: _off(figures[name]["seam_ratio"]))
    return min(lively or figures, key=lambda name: _off(figures[name]["motion"]))


def _off(ratio: float) -> float:
    """How far a ratio is from 1, either way."""
    return abs(math.log(max(1e-3, ratio)))


def _short(backbone: Backbone, request: ResolvedRequest, policy: Continuity, frames: int) -> ResolvedRequest:
    """The first so many frames under one policy, resolved; of a story its first prompt throughout."""
    told: dict[str, Any] = {"continuity": policy, "frames": min(request.frames, frames), "retries": 0}
    if request.filled.story is not None:
        told["story"] = None
        if request.motion is not None and request.motion.spec is None:
            told |= {"motion_strength": None, "motion_backend": None, "first_frame": None}
    return replace(request.filled, **told).resolve(backbone)


def _tried(backbone: Backbone, short: ResolvedRequest, progress: ProgressCallback) -> dict[str, Any]:
    """A short render's median seam ratio and its motion (levels a frame)."""
    run = LongRun(backbone, short, progress)
    made = np.concatenate(list(run.frames()))
    ratio = run.meter.report().median_ratio
    return {"seam_ratio": None if ratio is None else round(ratio, 3), "motion": float(changes(made).mean())}


def _share_of(progress: ProgressCallback | None, number: int, count: int) -> ProgressCallback:
    """One run's progress as a part of the trial's, in per cent."""

    def told(done: Progress) -> None:
        share = (number + done.step / max(1, done.steps)) / count
        report(progress, Progress("trial", int(100 * share), 100, done.elapsed_s))

    return told
