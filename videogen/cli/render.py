"""`videogen render`: check everything that needs no model, then load, render and save."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from videogen.backbones.recorded import check_allowed, check_job_weights, check_recorded_weights
from videogen.backbones.registry import locate
from videogen.core.errors import InputError, VideogenError
from videogen.core.files import atomic_path, check_output
from videogen.core.logs import adopt_third_parties
from videogen.core.manifest import Manifest
from videogen.request.request import RenderRequest
from videogen.request.resolved import ResolvedRequest
from videogen.schedulers.solvers import check_solver

from . import long_video
from .jobs import read_resumed
from .like import check_condition_files, check_motion_files, difference_notes
from .motion import check_motion, write_preview
from .progress import Bar
from .saving import save_clip, side_file
from .settings import OutputSettings, RenderSettings, choose_output, gather_settings
from .several_options import is_several
from .text import plural, printable
from .types import Json

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel
    from videogen.engine.engine import Engine
    from videogen.media.video import Video


@dataclass(frozen=True)
class Written:
    """The video that was written. size: (width, height) in px; problem: why `path` is not the requested one."""

    path: Path
    frames: int
    size: tuple[int, int]
    fps: float
    manifest: Json
    notes: list[str]
    problem: str | None = None


def run(options: argparse.Namespace) -> int:
    if is_several(options):
        from . import several

        return several.run(options)
    settings = gather_settings(options) if options.resume is None else read_resumed(options)
    if options.skip_existing and settings.output.path.exists():
        return _announce_skipped(settings.output.path, options)
    if settings.preview_only:
        return _preview_motion(settings, options)
    notes: list[str] = []
    speaks = not (options.quiet or options.json)
    bar = Bar(visible=speaks, preview=options.preview, notes=notes, speaks=speaks)
    try:
        bar.stage("check")  # a driving video may take a while to read
        output = check_before_loading(settings, options)
        if options.motion_preview is not None:
            with side_file("motion preview", options.motion_preview, notes, raising=(InputError,)):
                write_preview(settings.request, options.motion_preview, output.overwrite)
        started = time.perf_counter()
        bar.stage("load")
        engine = load_checked(settings, output, options, notes)
        loaded = time.perf_counter()
        written = render_one(engine, replace(settings.request, model=engine.backbone.name), output, options, bar)
        if options.report is not None:
            with side_file("report", options.report, notes):
                _write_report(options.report, written.manifest)
    finally:
        bar.close()
    seconds = {"load": loaded - started, "total": time.perf_counter() - started}
    _announce(options, written, notes + written.notes, seconds)
    return 0 if written.problem is None else 1


def load_checked(
    settings: RenderSettings, output: OutputSettings, options: argparse.Namespace, notes: list[str]
) -> Engine:
    """The model, once what it cannot serve has been refused; notes: gets why a repeated render may differ."""
    if settings.like is not None:
        _check_repeatable(settings, settings.like, options.like)
        notes += difference_notes(settings.like, options.like)
    local_only = settings.job is not None and not options.allow_model
    if settings.job is not None:
        job = settings.job.model
        check_job_weights(settings.request.model, job, str(options.resume), settings.request.load_options())
    _check_before_weights(settings.request, output, options, online=not local_only)
    engine = load_engine(settings.request, verbose=options.verbose, local_files_only=local_only)
    if settings.like is not None and settings.model_from_like:
        # again: one of the hub, or the digest of a pipeline in memory, is known only now
        check_recorded_weights(settings.request.model, settings.like.model, str(options.like), engine.backbone)
    return engine


def _announce_skipped(path: Path, options: argparse.Namespace) -> int:
    """Say that the only clip is left out, since its file exists."""
    if options.json:
        print(json.dumps({"path": str(path), "skipped": True}))
        return 0
    print(path)
    if not options.quiet:
        print(f"note: {path} exists and is left as it is", file=sys.stderr)
    return 0


def _preview_motion(settings: RenderSettings, options: argparse.Namespace) -> int:
    """Write the motion's preview, and nothing else."""
    path = options.motion_preview
    notes = write_preview(settings.request, path, settings.output.overwrite)
    if options.json:
        print(json.dumps({"motion_preview": str(path), "notes": notes}))
        return 0
    print(path)
    if not options.quiet:
        print_notes(notes)
    return 0


def print_notes(notes: list[str]) -> None:
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)


def load_engine(request: RenderRequest, *, verbose: bool, local_files_only: bool = False) -> Engine:
    """The model that a request names, on its device. local_files_only: as for `Engine.load`."""
    from videogen.engine.engine import Engine

    adopt_third_parties(verbose)
    return Engine.load(request.model or "embedded", **asdict(request.load_options(local_files_only=local_files_only)))


def render_one(
    engine: Engine, request: RenderRequest, output: OutputSettings, options: argparse.Namespace, bar: Bar
) -> Written:
    """Render and save, as one clip or segment by segment."""
    from videogen.media.writer import timing_notes
    from videogen.techniques.effects import effect_notes, expected_no_effect

    resolved = request.resolve(engine.backbone)
    long_video.check_options(options.keep_job, options.preview, resolved.is_long)
    bar.announce(effect_notes(expected_no_effect(resolved, engine.backbone)))
    if not resolved.is_long:
        return _render_clip(engine, resolved, output, options.preview is not None, bar)
    video = long_video.render(engine, resolved, output, keep_job=options.keep_job, bar=bar)
    notes = [*long_video.collect_notes(video), *timing_notes(video.path, resolved.fps)]
    return Written(video.path, video.frames, video.size, float(video.fps), video.manifest, notes, video.saved_elsewhere)


def _render_clip(engine: Engine, request: ResolvedRequest, output: OutputSettings, preview: bool, bar: Bar) -> Written:
    video = engine.render(request, progress=bar, preview_every=1 if preview else 0)
    bar.stage("save")
    return save_video(video, request, output)


def save_video(video: Video, request: ResolvedRequest, output: OutputSettings) -> Written:
    """Write a clip that is rendered."""
    from videogen.backbones.conditioning import PromptReading, negative_prompt_notes
    from videogen.media.writer import timing_notes

    assert video.manifest is not None
    video.manifest["output"] = {"quality": output.quality}
    measured = video.manifest["measured"]
    notes = [
        *request.notes,
        *timing_notes(output.path, request.fps),
        *PromptReading(**measured["prompt"]).notes(),
        *negative_prompt_notes(measured),
        *measured.get("motion", {}).get("notes", ()),
        *(note for one in measured.get("loras", ()) for note in one.get("notes", ())),
    ]
    saved = save_clip(video, output)
    return Written(saved.path, len(video), video.size, float(video.fps), video.manifest, notes, saved.saved_elsewhere)


def check_before_loading(settings: RenderSettings, options: argparse.Namespace) -> OutputSettings:
    """The output settings with the file's checked path. InputError or UnsupportedError for what can be refused before
    torch is imported, from the model's configuration files where they are on this machine."""
    from videogen.backbones.registry import read_model
    from videogen.media.writer import check_target
    from videogen.request.loras import resolve_embeddings, resolve_loras
    from videogen.request.source_fitting import probe_conditions

    request, output = settings.request, settings.output
    check_target(output.path, fps=request.fps, quality=output.quality)
    if not output.is_default:
        check_output(output.path, output.overwrite)
    check_solver(request.solver)
    if settings.model_from_like:
        check_allowed(request.model, str(options.like), request.load_options(), allow_model=options.allow_model)
    name = request.model or "embedded"
    locate(name)
    request.load_options()
    if options.preview is not None:
        _check_side_file("preview", options.preview, (".png", ".jpg"), output.overwrite)
    if options.report is not None:
        _check_side_file("report", options.report, (".html", ".htm"), output.overwrite)
    if settings.like is not None:
        check_condition_files(settings.like, request, options.like)
    probe_conditions(request.given)
    resolve_loras(request.given_loras)
    resolve_embeddings(request.given_embeddings)
    model = read_model(name, request.load_options())
    resolved = None if model is None else _check_fits(request, model, output, options)
    output = replace(output, path=check_output(choose_output(output, request, resolved), output.overwrite))
    _check_distinct(output.path, options.preview, options.report, options.motion_preview)
    check_motion(request)
    return output


def _check_fits(
    request: RenderRequest, model: ResolvableModel, output: OutputSettings, options: argparse.Namespace
) -> ResolvedRequest:
    """The request, resolved against a model that is not loaded. InputError or UnsupportedError for what the model
    cannot serve, or what fits neither disk nor memory."""
    resolved = replace(request, model=None, dtype=None, device=None).resolve(model)
    long_video.check_options(options.keep_job, options.preview, resolved.is_long)
    long_video.check_space(resolved, model, output.path)
    return resolved


def _check_before_weights(
    request: RenderRequest, output: OutputSettings, options: argparse.Namespace, *, online: bool
) -> None:
    """InputError or UnsupportedError for what the model cannot serve, techniques included, from its outline. online:
    whether that may be fetched from the hub."""
    from videogen.backbones.registry import load_outline
    from videogen.techniques.build import check_techniques

    outline = load_outline(request.model or "embedded", request.load_options(), online=online)
    adopt_third_parties(options.verbose)
    if outline is None:
        return
    resolved = _check_fits(request, outline, output, options)
    try:
        check_techniques(resolved, outline)
    except VideogenError:
        raise
    except RuntimeError as error:  # torch's, where a library reads weights: the run itself then says what does not fit
        logging.getLogger("videogen").info("techniques were not checked before loading: %s", error)


def _check_repeatable(settings: RenderSettings, like: Manifest, name: Path) -> None:
    """InputError where the weights or a file of the motion are not those of the video to repeat: nothing is loaded."""
    if settings.model_from_like:
        model_options = settings.request.load_options()
        check_recorded_weights(settings.request.model, like.model, str(name), options=model_options)
    check_motion_files(like, name)


def _check_side_file(name: str, path: Path, suffixes: tuple[str, ...], overwrite: bool) -> None:
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{name}={str(path)!r} must end in {' or '.join(suffixes)}")
    check_output(path, overwrite)


def _check_distinct(*paths: Path | None) -> None:
    """InputError where two results would go to one file."""
    named = [path.absolute() for path in paths if path is not None]
    twice = next((path for path in named if named.count(path) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is named for two results; give each its own file")


def _write_report(path: Path, manifest: Json) -> None:
    from .report import build_page

    with atomic_path(path, overwrite=True) as partial:
        partial.write_text(build_page(manifest), encoding="utf-8")


def result_of(written: Written, notes: list[str], seconds: dict[str, float]) -> Json:
    """A clip's entry in the output of --json."""
    width, height = written.size
    return {
        "path": str(written.path), "frames": written.frames, "width": width, "height": height, "fps": written.fps,
        "problem": written.problem, "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "notes": notes, "manifest": written.manifest,
    }  # fmt: skip


def _announce(options: argparse.Namespace, written: Written, notes: list[str], seconds: dict[str, float]) -> None:
    if written.problem is not None:
        print(f"videogen: {printable(written.problem)}", file=sys.stderr)
    if options.json:
        print(json.dumps(result_of(written, notes, seconds)))
        return
    print(written.path)
    if not options.quiet:
        print_notes(notes)
        size = f"{plural(written.frames, 'frame')}, {written.size[0]}x{written.size[1]}, {written.fps:g} fps"
        print(f"{size}, in {seconds['total']:.1f} s", file=sys.stderr)
