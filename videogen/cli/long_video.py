"""Long videos on the command line: rendered straight into the file, with notes on what an earlier run had done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from videogen.core.errors import Cancelled, InputError
from videogen.request.continuity import MEASURED
from videogen.request.continuity_policies import suggested_policy
from videogen.request.image_chain import ChainClip, divide_chain, is_image_chain
from videogen.request.resolved import ResolvedRequest

from .jobs import count_done, interruption_message
from .progress import Bar
from .settings import OutputSettings
from .types import Json

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel
    from videogen.engine.engine import Engine
    from videogen.longvideo.render import LongVideo
    from videogen.longvideo.segment_plan import SegmentPlan


def render(engine: Engine, request: ResolvedRequest, output: OutputSettings, *, keep_job: bool, bar: Bar) -> LongVideo:
    """Render a resolved long request, or resume it. After an interruption the error says what is stored."""
    path, overwrite = output.path, output.overwrite
    count = None if request.continuity == MEASURED else len(divide(request, engine.backbone))
    bar.steps_per_segment = request.steps
    if count_done(path):
        bar.stage("resume")
    try:
        return engine.render_long(
            request, path, quality=output.quality, overwrite=overwrite, keep_job=keep_job, progress=bar
        )
    except KeyboardInterrupt as stop:
        stop.args = (interruption_message(path, overwrite, count),)
        raise
    except Cancelled as stop:
        raise Cancelled(interruption_message(path, overwrite, count)) from stop


def divide(request: ResolvedRequest, backbone: ResolvableModel) -> SegmentPlan | tuple[ChainClip, ...]:
    """The segments in which a resolved long request is rendered."""
    if is_image_chain(request):
        return divide_chain(request, backbone.geometry.frame_map)
    from videogen.longvideo.policies.build import divide_timeline

    clip = backbone.geometry.shape(request.window, 0, 0)[2]
    return divide_timeline(request.latent_timeline(backbone.geometry), request.clip_continuity, clip, request.steps)


def check_options(keep_job: bool, preview: Path | None, is_long: bool) -> None:
    """InputError for options that are for long videos only, or for single clips only."""
    if keep_job and not is_long:
        raise InputError(
            "--keep-job is for a video of several segments and this is a single clip; leave it out, or add "
            f"--continuity {suggested_policy()}"
        )
    if preview is not None and is_long:
        raise InputError("--preview is for a single clip and this video is made of several; leave it out")


def check_space(request: ResolvedRequest, backbone: ResolvableModel, output: Path) -> None:
    """InputError where the video does not fit the disk, or a single clip not the memory."""
    from videogen.longvideo.space import check_disk, check_memory

    if request.is_long:
        check_disk(request, backbone.geometry, output)
    else:
        check_memory(request)


def collect_notes(video: LongVideo) -> list[str]:
    """What the user should know: what was resumed or fixed, and what the model does not read."""
    from videogen.backbones.conditioning import PromptReading, negative_prompt_notes

    count, notes = len(video.manifest["measured"]["long"]["segments"]), []
    if video.resumed:
        complete = video.resumed >= count
        notes.append(
            f"all {count} segments were done" if complete else f"resumed: {video.resumed} of {count} segments were done"
        )
    notes += video.notes
    readings = video.manifest["measured"]["prompts"]
    prompts = _prompts(video.manifest["request"])
    for prompt, reading in zip(prompts, readings, strict=True):
        where = f"{prompt[:40]!r}: " if len(prompts) > 1 else ""
        notes += [f"{where}{note}" for note in PromptReading(**reading).notes()]
    moving = video.manifest["measured"]["long"].get("motion", {})
    return [*notes, *negative_prompt_notes(video.manifest["measured"]), *moving.get("notes", ())]


def _prompts(request: Json) -> list[str]:
    """Each prompt once, in order."""
    story = request.get("story")
    return list(dict.fromkeys(shot["prompt"] for shot in story["shots"])) if story else [request["prompt"]]
