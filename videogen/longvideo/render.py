"""A long video into a file: streamed as it is made, its segments kept in a journal beside it, gone on with after a kill.

    done = render_long(backbone, request, "clip.mp4")      # the same call again goes on where it was cut off

The file has its name only once it is whole. On resuming, the finished segments are decoded again from the journal, so its
frames are those of an uninterrupted run, bit for bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from videogen.backbones.base import Backbone
from videogen.core.errors import Cancelled, InputError, ResumeError, VideogenError
from videogen.core.files import check_output, sweep_partials
from videogen.core.manifest import Manifest, collect_versions
from videogen.longvideo.journal.job import begun, job_folder, read_request, taken
from videogen.longvideo.journal.journal import Journal
from videogen.longvideo.journal.lock import FileLock
from videogen.media.metadata import read_manifest
from videogen.media.writer import VideoWriter, check_target
from videogen.motion.layers import digests
from videogen.request.continuity import MEASURED
from videogen.request.request import RenderRequest
from videogen.request.resolved import ResolvedRequest
from videogen.sampling.progress import ProgressCallback

from .policy_trial import settled
from .run import LongRun


@dataclass(frozen=True)
class LongVideo:
    """A long video on disk. size: (width, height) in px; resumed: segments that an earlier run had made; notes: what its
    journal told."""

    path: Path
    frames: int
    fps: Fraction
    size: tuple[int, int]
    manifest: dict[str, Any]
    resumed: int
    notes: tuple[str, ...]


def render_long(
    backbone: Backbone,
    request: ResolvedRequest,
    output: str | os.PathLike[str],
    *,
    quality: int | None = None,
    overwrite: bool = False,
    keep_job: bool = False,
    progress: ProgressCallback | None = None,
    prepare: Callable[[LongRun, Journal], None] | None = None,
) -> LongVideo:
    """Render a resolved long request into a file, through the job folder beside it.

    keep_job: leave the journal there when all is done, for `redo`. prepare: called with the opened journal before
    anything is made. Raises what rendering raises; ResumeError where the job there is another request's, or another
    process has it.
    """
    size = (request.width, request.height)
    fps = request.exact_fps
    path = check_target(output, fps=float(fps), quality=quality).expanduser().absolute()
    if not job_folder(path).exists():
        check_output(path, overwrite)
    with ExitStack() as held:
        # a trial is dear: whoever comes second is refused before it
        lock = held.enter_context(taken(job_folder(path))) if request.continuity == MEASURED else None
        request, trial = settled(backbone, _with_policy_begun(request, path, backbone), progress)
        run = LongRun(backbone, request, progress, trial)
        asked = {
            "request": request.to_dict(),
            "model": backbone.identity,
            "output": {"quality": quality},
            "files": _files(request),
        }
        if not overwrite and (done := _finished(path, asked, lock)) is not None:
            return LongVideo(path, request.frames, fps, size, done, len(run.segments), ("the video was whole already",))
        check_output(path, overwrite)
        journal = held.enter_context(Journal.open(job_folder(path), asked, lock))
        held.enter_context(_told_kept(path, journal, len(run.segments)))
        if prepare is not None:
            prepare(run, journal)
        sweep_partials(journal.folder)
        with VideoWriter(
            path, fps=fps, size=size, quality=quality, overwrite=overwrite, within=journal.folder
        ) as writer:
            count = 0
            for frames in run.frames(journal):
                writer.write(frames)
                count += len(frames)
            writer.manifest = manifest_of(run, {"quality": quality}).to_dict()
        if not keep_job:
            journal.finish()
        return LongVideo(path, count, fps, size, writer.manifest, run.made_from, (*journal.notes, *run.notes))


def _with_policy_begun(request: ResolvedRequest, path: Path, backbone: Backbone) -> ResolvedRequest:
    """A request for a measured policy takes what the trial of the job beside its output found. ResumeError where there
    was none."""
    found = begun(job_folder(path)) if request.continuity == MEASURED else None
    if found is None:
        return request
    asked, first = found
    if "trial" not in first:
        policy = asked.get("request", {}).get("continuity")
        raise ResumeError(
            f"{job_folder(path)} is the job of another request: continuity was {policy} and is 'measured'; give that one, or delete "
            "the folder to start anew"
        )
    return replace(request.filled, continuity=asked["request"]["continuity"]).resolve(backbone)


def _files(request: ResolvedRequest) -> dict[str, str]:
    """A digest of each file that a motion is read from."""
    whole = None if request.motion is None else request.motion.spec
    moving = [whole, *(shot.motion for shot in request.timeline.shots)]
    return {name: value for motion in moving if motion is not None for name, value in digests(motion, None).items()}


def _finished(path: Path, asked: dict[str, Any], lock: FileLock | None) -> dict[str, Any] | None:
    """The manifest of the file, where it is this job's and only the job's folder was left to remove (a kill in
    between)."""
    folder = job_folder(path)
    if not path.exists() or not folder.exists():
        return None
    with suppress(VideogenError):
        manifest = read_manifest(path)
        if manifest is not None and manifest.get("request") == json.loads(json.dumps(asked["request"])):
            with Journal.open(folder, asked, lock) as journal:
                journal.finish()
            return manifest
    return None


@contextmanager
def _told_kept(path: Path, journal: Journal, segments: int) -> Iterator[None]:
    """A `Cancelled` of the block says what is kept."""
    try:
        yield
    except Cancelled as stop:
        raise Cancelled(
            f"stopped by the caller; {len(journal)} of {segments} segments are kept in {job_folder(path).name}: the same call goes on"
        ) from stop


def manifest_of(run: LongRun, output: dict[str, Any]) -> Manifest:
    """How a long video was made, once all its frames are; the plan is one segment's. output: how the file was written."""
    readings = [run.backbone.read_prompt(prompt) for prompt in run.shown.prompts]
    return Manifest(
        request=run.request.to_dict(), model=run.backbone.identity, versions=collect_versions(),
        plan=[row.to_dict() for row in run.plan],
        measured={"long": run.measured, "prompts": [asdict(reading) for reading in readings]},
        output=output, timings_s={name: round(seconds, 4) for name, seconds in run.timings_s.items()},
    )  # fmt: skip


def request_of_job(output: str | os.PathLike[str]) -> tuple[RenderRequest, dict[str, Any]]:
    """(the request, the output settings) of the job beside an output file, to go on with it. ResumeError where there is
    none."""
    asked = read_request(job_folder(output))
    if not {"request", "model", "output"} <= set(asked):
        raise InputError(f"{job_folder(output)} is no render's job")
    return RenderRequest.from_dict(asked["request"]), dict(asked["output"])
