"""Trial of `continuity="measured"`: the video's first seconds under several policies; the one with the best seams wins.

Of the policies whose clips move about as much as a single clip, the one whose median seam ratio is nearest to 1 is
chosen. How a policy does depends on the model more than on the prompt, so that a few joins suffice. The trial costs a
few single clips per policy, before the first frame is rendered.
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
from videogen.request.continuity_policies import baseline_policy, trial_names
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.progress import Progress, ProgressCallback, report

from .run import LongRun

CLIPS = 3.5  # length of a trial in clips: each policy then shows joins with frames on either side
LIVELY = 0.8  # fraction of a single clip's motion: a policy that moves less is about to freeze


def choose_policy(
    backbone: Backbone, request: ResolvedRequest, progress: ProgressCallback | None = None
) -> tuple[ResolvedRequest, dict[str, Any] | None]:
    """(a resolved long request with its policy, the trial's figures); as given, and None, where it names its policy.

    The figures: the policy `chosen`, those of all (`policies`: median seam ratio, None where no join could be measured,
    and motion relative to a single clip's), and why others were not tried (`refused`). Raises as rendering does;
    InputError where no policy fits.
    """
    if request.continuity != MEASURED:
        return request, None
    able, refused = find_candidates(backbone, request)
    if not able:
        raise InputError(f"continuity='measured': no policy can be tried ({'; '.join(refused.values())}); name one")
    single = request.shorten(request.window).with_continuity(baseline_policy(), backbone)
    runs = {"": single, **able}
    figures: dict[str, Any] = {}
    for number, (name, short) in enumerate(runs.items()):
        figures[name] = _measure(backbone, short, _progress_part(progress, number, len(runs)))
    plain = figures.pop("")["motion"]
    for row in figures.values():
        row["motion"] = round(row["motion"] / max(plain, 1e-9), 3)
    chosen = best_policy(figures, still=plain < STILL_LEVELS)
    trial = {"chosen": chosen, "policies": figures, "refused": refused}
    return request.with_continuity(chosen, backbone), trial


def find_candidates(backbone: Backbone, request: ResolvedRequest) -> tuple[dict[str, ResolvedRequest], dict[str, str]]:
    """(the trial request of each policy that can render this request, why the others cannot)."""
    able: dict[str, ResolvedRequest] = {}
    refused: dict[str, str] = {}
    for name in trial_names():
        policy = Continuity.parse(name)
        try:
            request.with_continuity(policy, backbone)  # at its full length
            # short sections, which meet within the trial
            trial = replace(policy, windows=2) if "windows" in policy.row.configurable else policy
            able[name] = request.shorten(round(CLIPS * request.window)).with_continuity(trial, backbone)
        except (InputError, UnsupportedError) as error:
            refused[name] = str(error)
    return able, refused


def best_policy(figures: Mapping[str, Mapping[str, Any]], *, still: bool = False) -> str:
    """The policy with the seam ratio nearest to 1 among those that move enough; if none does, the one whose motion is
    nearest to a single clip's.

    still: the single clip does not move, so that motion decides nothing.
    """
    lively = [name for name, row in figures.items() if still or row["motion"] >= LIVELY]
    measured = [name for name in lively if figures[name]["seam_ratio"] is not None]
    if measured:
        return min(measured, key=lambda name: _distance_from_1(figures[name]["seam_ratio"]))
    return min(lively or figures, key=lambda name: _distance_from_1(figures[name]["motion"]))


def _distance_from_1(ratio: float) -> float:
    """How far a ratio is from 1, either way."""
    return abs(math.log(max(1e-3, ratio)))


def _measure(backbone: Backbone, short: ResolvedRequest, progress: ProgressCallback) -> dict[str, Any]:
    """A short render's median seam ratio and its motion (grey levels per frame)."""
    run = LongRun(backbone, short, progress)
    frames = np.concatenate(list(run.frames()))
    ratio = run.meter.report().median_ratio
    return {"seam_ratio": None if ratio is None else round(ratio, 3), "motion": float(changes(frames).mean())}


def _progress_part(progress: ProgressCallback | None, number: int, count: int) -> ProgressCallback:
    """One run's progress as a part of the trial's, in per cent."""

    def on_progress(done: Progress) -> None:
        fraction = (number + done.step / max(1, done.steps)) / count
        report(progress, Progress("trial", int(100 * fraction), 100, done.elapsed_s))

    return on_progress
