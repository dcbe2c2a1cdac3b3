"""Rendering of a long video into a file: streamed as it is rendered, its segments in a journal next to it, resumable.

    done = render_long(backbone, request, "clip.mp4")      # the same call again resumes where it was interrupted

The file has its name only once it is complete. On resuming, finished segments are decoded again from the journal, so
that the frames are those of an uninterrupted run, bit for bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

from videogen.backbones.base import Backbone
from videogen.core.errors import Cancelled, ResumeError, SavedElsewhereError, VideogenError
from videogen.core.files import check_output, sha256, sweep_partials
from videogen.core.manifest import Manifest, collect_versions
from videogen.core.notebook import build_html
from videogen.media.metadata import read_manifest
from videogen.media.writer import VideoWriter, check_target
from videogen.motion.serialisation import digests
from videogen.request.continuity import MEASURED
from videogen.request.resolved import ResolvedRequest
from videogen.request.stored import with_current_settings
from videogen.sampling.progress import ProgressCallback
from videogen.techniques.effects import with_effects

from .build_run import build_run
from .image_chain_run import ImageChainRun
from .journal.job import job_folder, locked_job, read_started_job
from .journal.journal import Journal
from .journal.lock import FileLock
from .policy_trial import choose_policy
from .run import LongRun
from .space import check_disk
from .technique_summary import summarize_techniques


@dataclass(frozen=True, repr=False)
class LongVideo:
    """A long video on disk. size: (width, height) in px; resumed: how many segments an earlier run had rendered; notes:
    what its journal reported; saved_elsewhere: why `path` is not the requested name, None where it is."""

    path: Path
    frames: int
    fps: Fraction
    size: tuple[int, int]
    manifest: dict[str, Any]
    resumed: int
    notes: tuple[str, ...]
    saved_elsewhere: str | None = None

    def __repr__(self) -> str:
        facts = self._facts()
        return f"<LongVideo: {facts['file']}, {facts['length']}, {facts['segments']}>"

    def _repr_html_(self) -> str:
        from videogen.media.notebook import file_player

        return build_html("LongVideo", self._facts(), file_player(self.path))

    def _facts(self) -> dict[str, str]:
        width, height = self.size
        long = self.manifest.get("measured", {}).get("long", {})
        ratio = (long.get("report") or {}).get("median_ratio")
        seams = "" if ratio is None else f", median seam ratio {ratio:.2f}"
        return {
            "file": str(self.path),
            "length": f"{self.frames} frames of {width}x{height}, {float(self.fps):g} fps",
            "segments": f"{len(long.get('segments', ()))} segments{seams}",
            **({} if self.saved_elsewhere is None else {"saved elsewhere": self.saved_elsewhere}),
            **{f"note {number}": note for number, note in enumerate(self.notes, 1)},
        }


def render_long(
    backbone: Backbone,
    request: ResolvedRequest,
    output: str | os.PathLike[str],
    *,
    quality: int | None = None,
    overwrite: bool = False,
    keep_job: bool = False,
    progress: ProgressCallback | None = None,
    prepare: Callable[[LongRun | ImageChainRun, Journal], None] | None = None,
    measure: Callable[[], dict[str, Any]] = dict,
) -> LongVideo:
    """Render a resolved long request into a file, through the job folder next to it.

    The result's path is the next free name where another process took the output's in the meantime, or where the old
    file cannot be replaced; its `saved_elsewhere` says so.

    keep_job: do not delete the journal at the end, for `redo`. prepare: called with the opened journal before anything
    is rendered; measure: further measurements for the manifest, once all is rendered. Raises as rendering does;
    ResumeError where the job there is another request's, or another process has it.
    """
    size = (request.width, request.height)
    fps = request.exact_fps
    path = check_target(output, fps=float(fps), quality=quality).expanduser().absolute()
    if not job_folder(path).exists():
        check_output(path, overwrite)
    check_disk(request, backbone.geometry, path)
    with ExitStack() as stack:
        stack.enter_context(backbone.adaptation.apply(request.loras, request.embeddings))
        # a trial is expensive: a second process is refused before it
        lock = stack.enter_context(locked_job(job_folder(path))) if request.continuity == MEASURED else None
        request, trial = choose_policy(backbone, _with_started_policy(request, path, backbone), progress)
        run = build_run(backbone, request, progress, trial)
        job = {
            "request": request.to_dict(),
            "model": backbone.identity,
            "output": {"quality": quality},
            "files": _digest_files(request),
        }
        if not overwrite and (manifest := _finish_job(path, job, lock)) is not None:
            notes = ("the video was already complete",)
            return LongVideo(path, request.frames, fps, size, manifest, len(run.segments), notes)
        check_output(path, overwrite)
        journal = stack.enter_context(Journal.open(job_folder(path), job, lock, about=run.about))
        stack.enter_context(_explain_cancelling(path, journal, len(run.segments)))
        if prepare is not None:
            prepare(run, journal)
        sweep_partials(journal.folder)
        writer = VideoWriter(path, fps=fps, size=size, quality=quality, overwrite=overwrite, within=journal.folder)
        elsewhere: str | None = None
        try:
            with writer:
                count = 0
                for frames in run.frames(journal):
                    writer.write(frames)
                    count += len(frames)
                writer.manifest = build_manifest(run, {"quality": quality}, measure()).to_dict()
        except SavedElsewhereError as error:  # all of it is there: rendering it again would not help
            path, elsewhere = error.path, str(error)
        if not keep_job:
            journal.finish()
        assert writer.manifest is not None
        found = (*request.notes, *backbone.adaptation.notes, *journal.notes, *run.notes, *writer.notes)
        return LongVideo(path, count, fps, size, writer.manifest, run.resumed, found, elsewhere)


def _with_started_policy(request: ResolvedRequest, path: Path, backbone: Backbone) -> ResolvedRequest:
    """A request for a measured policy gets the one that the trial of the job next to its output chose. ResumeError
    where that job had no trial."""
    started = read_started_job(job_folder(path)) if request.continuity == MEASURED else None
    if started is None:
        return request
    job, first = started
    if "trial" not in first:
        policy = job.get("request", {}).get("continuity")
        raise ResumeError(
            f"{job_folder(path)} is the job of another request: continuity was {policy} and is 'measured'; give that "
            "one, or delete the folder to start over"
        )
    return request.with_continuity(job["request"]["continuity"], backbone)


def _digest_files(request: ResolvedRequest) -> dict[str, str]:
    """A digest of each file that a motion is read from, or a clip made from."""
    of_video = None if request.motion is None else request.motion.spec
    moving = [of_video, *(shot.motion for shot in request.timeline.shots)]
    images = {value: sha256(Path(value)) for _, _, _, value in request.conditions.items() if isinstance(value, str)}
    moved = {name: value for motion in moving if motion is not None for name, value in digests(motion, None).items()}
    return moved | images


def _finish_job(path: Path, job: dict[str, Any], lock: FileLock | None) -> dict[str, Any] | None:
    """The manifest of the output if it is this job's and complete; its folder, which a kill left, is removed."""
    folder = job_folder(path)
    if not path.exists() or not folder.exists():
        return None
    with suppress(VideogenError):
        manifest = read_manifest(path)
        if manifest is not None and with_current_settings(manifest["request"]) == json.loads(
            json.dumps(job["request"])
        ):
            with Journal.open(folder, job, lock) as journal:
                journal.finish()
            return manifest
    return None


@contextmanager
def _explain_cancelling(path: Path, journal: Journal, segments: int) -> Iterator[None]:
    """A `Cancelled` of the block says what is stored."""
    try:
        yield
    except Cancelled as stop:
        raise Cancelled(
            f"stopped by the caller; {len(journal)} of {segments} segments are stored in {job_folder(path).name}: the "
            "same call resumes"
        ) from stop


def build_manifest(
    run: LongRun | ImageChainRun, output: dict[str, Any], measured: Mapping[str, Any] = MappingProxyType({})
) -> Manifest:
    """How a long video was rendered, once all its frames are; the plan is one segment's. output: how the file was
    written; measured: further measurements."""
    readings = [run.backbone.read_prompt(prompt) for prompt in run.timeline.prompts]
    return Manifest(
        request=run.request.to_dict(),
        model=run.backbone.recorded_identity,
        versions=collect_versions(),
        plan=[row.to_dict() for row in run.plan],
        measured={
            "long": run.measured,
            **measured,
            **({"conditions": run.conditions} if isinstance(run, ImageChainRun) and run.conditions else {}),
            **with_effects(summarize_techniques(run.request, run.rows)),
            **run.backbone.adaptation.records,
            "prompts": [reading.to_dict() for reading in readings],
            **run.backbone.measure_negative_prompt(run.request.negative_prompt),
        },
        output=output,
        timings_s={name: round(seconds, 4) for name, seconds in run.timings_s.items()},
    )
