"""One segment of a stored long video regenerated, or an earlier version of it restored; all others stay as they are.

The segment is denoised again together with the last frames before it and the first frames after it. Those are led to
their known latents (`techniques.fixed_latents.StraightReplay`), so that it does not matter how they were rendered.
Segments that are still to come continue from the predictions of the segment as it first was.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError, UnsupportedError, VideogenError
from videogen.media.metadata import read_manifest
from videogen.request.continuity_policies import FIRST_FRAME_POLICY
from videogen.request.image_chain import is_image_chain
from videogen.sampling.progress import Progress, ProgressCallback, report
from videogen.sampling.sample import begin, sample
from videogen.schedulers.cono.look_back import SOURCE, Clip
from videogen.schedulers.windows import Windows
from videogen.techniques.build import build_techniques
from videogen.techniques.fixed_latents import StraightReplay

from .image_chain_run import ImageChainRun
from .join_seams import join_seams, seam_notes
from .journal.journal import Journal
from .journal.records import SegmentRecord
from .journal.versions import version_of
from .render import LongVideo, render_long
from .run import LongRun
from .segment_renderer import summarize
from .segment_versions import SceneVersions
from .segments import Segment
from .stored_job import read_stored_job

_LASTING = ("attempt", "memory", "versions", "trial")  # of a segment's state, also after it is regenerated


def redo(
    backbone: Backbone,
    output: str | os.PathLike[str],
    index: int,
    *,
    attempt: int | None = None,
    progress: ProgressCallback | None = None,
    measure: Callable[[], dict[str, Any]] = dict,
) -> LongVideo:
    """Regenerate segment `index` (from 0) of the video at `output` and write the video again; its job folder stays, in
    which the version that the segment had is stored.

    attempt: which noise, from 1 on; None: the next one not tried; measure: as for `render_long`. ResumeError where the
    job was deleted (`keep_job`); InputError where there is no such segment. The joins at which a seam became visible
    are among the result's notes.
    """

    def regenerate(run: LongRun, journal: Journal) -> None:
        tried = max(journal.versions(index), default=int(journal.state(index).get("redone", 0)))
        number = tried + 1 if attempt is None else operator.index(attempt)
        if number < 1:
            raise InputError(f"attempt={number} must be 1 or more")
        if number in (*journal.versions(index), version_of(journal.read(index))):
            raise InputError(f"attempt={number} of segment {index} is stored already: restore it, or choose another")
        journal.show_version(_regenerate(run, journal, index, number, progress))

    return _change_segment(backbone, output, operator.index(index), regenerate, progress, measure)


def restore(
    backbone: Backbone,
    output: str | os.PathLike[str],
    index: int,
    *,
    attempt: int = 0,
    progress: ProgressCallback | None = None,
    measure: Callable[[], dict[str, Any]] = dict,
) -> LongVideo:
    """Show an earlier version of segment `index` again, and write the video; all versions stay stored.

    attempt: which one, 0 for the segment as it was first rendered. Raises as `redo`; InputError where that version is
    not stored.
    """

    def put_back(run: LongRun, journal: Journal) -> None:
        now = journal.read(index)
        if operator.index(attempt) == version_of(now):
            return
        version = journal.read_version(index, operator.index(attempt))
        lasting = {name: value for name, value in now.state.items() if name in _LASTING}
        journal.show_version(replace(version, tensors=now.tensors, state={**version.state, **lasting}))

    return _change_segment(backbone, output, operator.index(index), put_back, progress, measure)


def _change_segment(
    backbone: Backbone,
    output: str | os.PathLike[str],
    index: int,
    change: Callable[[LongRun, Journal], None],
    progress: ProgressCallback | None,
    measure: Callable[[], dict[str, Any]],
) -> LongVideo:
    """Change a segment in the journal, and write the video again."""
    job = read_stored_job(output)
    resolved = replace(job.request, device=None, dtype=None).resolve(backbone)
    if is_image_chain(resolved):
        raise UnsupportedError(
            f"segment {index} cannot be regenerated: the clips of {FIRST_FRAME_POLICY} on {backbone.name!r} each begin "
            "with the last frame of the one before; render the video again with another seed"
        )
    before = join_seams(_stored_manifest(output), index)

    def prepare(run: LongRun | ImageChainRun, journal: Journal) -> None:
        assert isinstance(run, LongRun)
        if not 0 <= index < len(journal):
            raise InputError(
                f"segment {index} is not there: the job has {len(journal)} of {len(run.segments)} segments, counted "
                "from 0"
            )
        change(run, journal)

    video = render_long(
        backbone,
        resolved,
        output,
        quality=job.output.get("quality"),
        overwrite=True,
        keep_job=True,
        progress=progress,
        prepare=prepare,
        measure=measure,
    )
    return replace(video, notes=(*video.notes, *seam_notes(index, before, join_seams(video.manifest, index))))


def _stored_manifest(output: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of the video as it is; empty where it is not finished or not readable."""
    try:
        return read_manifest(Path(output).expanduser()) or {}
    except VideogenError:
        return {}


@torch.inference_mode()
def _regenerate(
    run: LongRun, journal: Journal, index: int, attempt: int, progress: ProgressCallback | None
) -> SegmentRecord:
    """The segment, denoised between its neighbours' frames."""
    segment = run.segments[index]
    old = journal.read(index)
    start, stop = _reach(run, segment, journal.latents_done)
    own = [slot for slot in range(stop - start) if segment.start <= start + slot < segment.stop]
    fixed = [slot for slot in range(stop - start) if slot not in own]
    widened = _widen(run, segment, start, stop)
    source = run.noise.regeneration_window(widened, own, attempt)
    techniques = build_techniques(run.request, tuple(fixed))
    if fixed:
        techniques.insert(0, StraightReplay(fixed, journal.latents(start, stop)[:, :, fixed]))

    def on_step(state: Any, steps: int, skipped: int) -> None:
        report(progress, Progress("denoise", state.index, steps, 0.0))

    start_s = time.perf_counter()
    text = run.prompts.conditioning(widened)
    state = begin(run.backbone, run.request, text, [source], stop - start, widened.windows)
    with closing(state.clip):
        latents, _, measured = sample(run.backbone, state, run.request, techniques, on_step)
    emitted = latents[:, :, segment.start - start : segment.stop - start].cpu()
    lasting = {name: value for name, value in old.state.items() if name in _LASTING}
    seconds = round(time.perf_counter() - start_s, 3)
    follows = SceneVersions.of_scene(run.segments, segment, journal).follows(index)
    state_now = {**lasting, "redone": attempt, "seconds": seconds, **follows, **summarize(measured)}
    return SegmentRecord(index, old.start, emitted, old.tensors, state_now)


def _reach(run: LongRun, segment: Segment, done: int) -> tuple[int, int]:
    """The job latents that are denoised, start to stop: the segment and an overlap on either side within its scene, a
    clip at least."""
    overlap = max(1, run.continuity.overlap or run.clip // 3)
    end = min(segment.scene.stop, done)
    start, stop = max(segment.scene.start, segment.start - overlap), min(end, segment.stop + overlap)
    start = max(segment.scene.start, min(start, stop - run.clip))
    return start, min(end, max(stop, start + run.clip))


def _widen(run: LongRun, segment: Segment, start: int, stop: int) -> Segment:
    """The segment as one clip over the latents start to stop."""
    frames = stop - start
    clip = Clip("clip", SOURCE, tuple(range(frames)), (), SOURCE, range(segment.start - start, segment.stop - start))
    anchor = run.backbone.geometry.single_first
    overlap = min(run.clip // 2, run.clip - 1 - anchor)
    windows = Windows(frames, run.clip, overlap, anchor=anchor) if frames > run.clip else None
    return replace(segment, clips=(clip,), spans=(range(start, stop),), windows=windows, fade=0)
