"""A long video from the command line: rendered straight into its file, with words for what an earlier run had made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import Cancelled, InputError
from videogen.request.continuity import MEASURED
from videogen.request.resolved import ResolvedRequest

from .jobs import kept, told_on_interrupt
from .progress import Bar

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone
    from videogen.engine.engine import Engine
    from videogen.longvideo.render import LongVideo
    from videogen.longvideo.segments import Segment


def render(
    engine: Engine, request: ResolvedRequest, path: Path, output: dict[str, Any], *, keep_job: bool, bar: Bar
) -> LongVideo:
    """Make a resolved long request's video, or go on with it. An interruption says what is kept."""
    overwrite = bool(output.get("overwrite"))
    count = None if request.continuity == MEASURED else len(segments_of(request, engine.backbone))
    bar.steps_a_segment = request.steps
    if kept(path):
        bar.stage("resume")
    try:
        return engine.render_long(
            request, path, quality=output.get("quality"), overwrite=overwrite, keep_job=keep_job, progress=bar
        )  # fmt: skip
    except KeyboardInterrupt as stop:
        stop.args = (told_on_interrupt(path, overwrite, count),)
        raise
    except Cancelled as stop:
        raise Cancelled(told_on_interrupt(path, overwrite, count)) from stop


def segments_of(request: ResolvedRequest, backbone: Backbone) -> list[Segment]:
    """The segments that a resolved long request is made in."""
    from videogen.longvideo.policies.build import divide_timeline

    clip = backbone.geometry.shape(request.window, 0, 0)[2]
    return divide_timeline(request.latent_timeline(backbone.geometry), request.clip_continuity, clip, request.steps)


def check_clip_only(keep_job: bool, preview: Path | None, is_long: bool) -> None:
    """InputError for what is of long videos alone, or of single clips alone."""
    if keep_job and not is_long:
        raise InputError(
            "--keep-job is for a video of several segments and this is a single clip; leave it out, or give --continuity replay"
        )
    if preview is not None and is_long:
        raise InputError("--preview shows one clip as it forms and this video is made of several; leave it out")


def notes_of(video: LongVideo) -> list[str]:
    """What the user ought to know: what went on, what was mended, what the model does not read."""
    from videogen.backbones.base import PromptReading

    count, notes = len(video.manifest["measured"]["long"]["segments"]), []
    if video.resumed:
        whole = video.resumed >= count
        notes.append(
            f"all {count} segments were there" if whole else f"went on from segment {video.resumed} of {count}"
        )
    notes += video.notes
    readings = video.manifest["measured"]["prompts"]
    prompts = _prompts(video.manifest["request"])
    for prompt, reading in zip(prompts, readings, strict=True):
        of = f"{prompt[:40]!r}: " if len(prompts) > 1 else ""
        notes += [f"{of}{note}" for note in PromptReading(**reading).notes()]
    return notes


def _prompts(request: dict[str, Any]) -> list[str]:
    """Each once, in order."""
    story = request.get("story")
    return list(dict.fromkeys(shot["prompt"] for shot in story["shots"])) if story else [request["prompt"]]
