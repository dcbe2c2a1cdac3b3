"""One segment of a kept long video made again, so that it fits the segments on both sides, which stay as they are.

The segment is denoised anew together with the last frames before it and the first frames after it. Those are led to what
they are (`continuity.StraightReplay`), so it matters neither how they were made nor by which policy. Segments that are
still to be made go on from the predictions of the segment as it was first made.
"""

from __future__ import annotations

import operator
import os
import time
from dataclasses import replace
from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError
from videogen.longvideo.journal.journal import Journal
from videogen.longvideo.journal.records import Chunk
from videogen.longvideo.segments import Segment
from videogen.sampling.progress import Progress, ProgressCallback, report
from videogen.sampling.sample import begin, sample
from videogen.schedulers.cono.look_back import SOURCE, Clip
from videogen.schedulers.windows import Windows
from videogen.techniques.build import asked_for
from videogen.techniques.fixed_latents import StraightReplay

from .render import LongVideo, render_long, request_of_job
from .run import LongRun, shortened


def redo(
    backbone: Backbone,
    output: str | os.PathLike[str],
    index: int,
    *,
    attempt: int | None = None,
    progress: ProgressCallback | None = None,
) -> LongVideo:
    """Make segment `index` (from 0) of the video at `output` again and write the video anew; its job folder stays.

    attempt: which noise, 1 and on; None: the next one not tried. ResumeError where the job was not kept (`keep_job`);
    InputError where the segment is not there.
    """
    request, settings = request_of_job(output)
    index = operator.index(index)
    resolved = replace(request, device=None, dtype=None).resolve(backbone)

    def remake(run: LongRun, journal: Journal) -> None:
        if not 0 <= index < len(journal):
            raise InputError(
                f"segment {index} is not there: the job has {len(journal)} of {len(run.segments)} segments, counted from 0"
            )
        number = int(journal.state(index).get("redone", 0)) + 1 if attempt is None else operator.index(attempt)
        if number < 1:
            raise InputError(f"attempt={number} must be 1 or more")
        journal.replace(_between(run, journal, index, number, progress))

    return render_long(
        backbone,
        resolved,
        output,
        quality=settings.get("quality"),
        overwrite=True,
        keep_job=True,
        progress=progress,
        prepare=remake,
    )


@torch.inference_mode()
def _between(run: LongRun, journal: Journal, index: int, attempt: int, progress: ProgressCallback | None) -> Chunk:
    """The segment, denoised between its neighbours' frames."""
    segment = run.segments[index]
    old = journal.read(index)
    start, stop = _reach(run, segment, journal.latents_done)
    wide = _widened(run, segment, start, stop)
    source = run.noise.between(
        wide, [slot for slot in range(stop - start) if segment.start <= start + slot < segment.stop], attempt
    )
    state = begin(run.backbone, run.request, [source], stop - start, wide.windows)
    fixed = [slot for slot in range(stop - start) if not segment.start <= start + slot < segment.stop]
    techniques = asked_for(run.request, tuple(fixed))
    if fixed:
        techniques.insert(0, StraightReplay(fixed, journal.latents(start, stop)[:, :, fixed]))

    def told(state: Any, steps: int, skipped: int) -> None:
        report(progress, Progress("denoise", state.index, steps, 0.0))

    begun = time.perf_counter()
    latents, _, measured = sample(run.backbone, state, run.request, run.prompts.of(wide), techniques, told)
    made = latents[:, :, segment.start - start : segment.stop - start].cpu()
    kept = {name: value for name, value in old.state.items() if name in ("attempt", "memory", "versions", "trial")}
    state_now = {**kept, "redone": attempt, "seconds": round(time.perf_counter() - begun, 3), **shortened(measured)}
    return Chunk(index, old.start, made, old.tensors, state_now)


def _reach(run: LongRun, segment: Segment, done: int) -> tuple[int, int]:
    """The job latents that are denoised: the segment, and of its scene on either side as much as a clip's tie, a clip at
    least."""
    tie = max(1, run.continuity.overlap or run.clip // 3)
    start, stop = max(segment.scene.start, segment.start - tie), min(segment.scene.stop, done, segment.stop + tie)
    start = max(segment.scene.start, min(start, stop - run.clip))
    return start, min(segment.scene.stop, done, max(stop, start + run.clip))


def _widened(run: LongRun, segment: Segment, start: int, stop: int) -> Segment:
    frames = stop - start
    clip = Clip("clip", SOURCE, tuple(range(frames)), (), SOURCE, range(segment.start - start, segment.stop - start))
    anchor = run.backbone.geometry.single_first
    windows = (
        Windows(frames, run.clip, min(run.clip // 2, run.clip - 1 - anchor), anchor=anchor)
        if frames > run.clip
        else None
    )
    return replace(segment, clips=(clip,), spans=(range(start, stop),), windows=windows, fade=0)
