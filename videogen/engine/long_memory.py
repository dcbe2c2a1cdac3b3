"""Memory use of a long video: planned for one of its segments, and with more offloading once a segment does not fit.

Only means that leave the frames as they are are stepped down to, so that an interrupted and resumed video stays that of
one run; what a plan chooses follows from the request and is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from typing import TypeVar

import numpy as np

from videogen.core.errors import OutOfMemoryError
from videogen.longvideo.build_run import build_run
from videogen.longvideo.policy_trial import choose_policy
from videogen.longvideo.render import build_manifest
from videogen.longvideo.stored_job import read_stored_job
from videogen.media.video import Video
from videogen.request.resolve import resolved_for
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.checks import Tiling
from videogen.sampling.progress import ProgressCallback

from .memory_use import SEGMENT, MemoryFitter, MemoryUse

_Result = TypeVar("_Result")


def render_within_memory(
    fitter: MemoryFitter, request: ResolvedRequest, render: Callable[[MemoryUse], _Result]
) -> _Result:
    """What `render` returns, under the residency that fits a segment. It is called again, and resumes from its journal,
    as long as memory runs out and there is more to offload. InputError where the memory is too small, before it is
    called; OutOfMemoryError where nothing is left."""
    use = fitter.fit(request, 1)
    try:
        use.begin()
        while True:
            try:
                with Tiling(use.backbone, use.residency.tiling):
                    return render(use)
            except OutOfMemoryError as error:
                failure = OutOfMemoryError(str(error))  # without the traceback, which holds the tensors
            if not use.step_down(SEGMENT, 1):
                raise failure
    finally:
        fitter.end(use)


def change_within_memory(
    fitter: MemoryFitter, output: str | PathLike[str], change: Callable[[MemoryUse], _Result]
) -> _Result:
    """The same for a change of a stored video, under the residency of its own request."""
    request = replace(read_stored_job(output).request, device=None, dtype=None)
    return render_within_memory(fitter, resolved_for(request, fitter.backbone, segmented=True), change)


def render_segments(request: ResolvedRequest, use: MemoryUse, progress: ProgressCallback | None) -> Video:
    """A long video as a `Video`: no journal, all frames at once."""
    with use.backbone.adaptation.apply(request.loras, request.embeddings):
        request, trial = choose_policy(use.backbone, request, progress)
        run = build_run(use.backbone, request, progress, trial)
        frames = np.concatenate(list(run.frames()))
        return Video(frames, request.exact_fps, build_manifest(run, {}, use.to_manifest()).to_dict())
