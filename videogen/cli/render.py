"""`videogen render`: check everything that needs no model, then load, render and save."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from videogen.backbones.recorded import check_allowed, check_recorded_weights
from videogen.core.errors import InputError, VideogenError
from videogen.core.files import atomic_path, check_output
from videogen.core.logs import adopt_third_parties
from videogen.core.manifest import Manifest
from videogen.request.request import RenderRequest
from videogen.request.resolved import ResolvedRequest

from . import long_video
from .jobs import read_resumed
from .like import check_motion_files, difference_notes
from .motion import check_motion, write_preview
from .progress import Bar
from .saving import save_clip, side_file
from .settings import OutputSettings, RenderSettings, gather_settings
from .text import plural, printable
from .types import Json

if TYPE_CHECKING:
    from videogen.engine.engine import Engine


@dataclass(frozen=True)
class _Written:
    """The video that was written. size: (width, height) in px; problem: why `path` is not the requested one."""

    path: Path
    frames: int
    size: tuple[int, int]
    fps: float
    manifest: Json
    notes: list[str]
    problem: str | None = None


def run(options: argparse.Namespace) -> int:
    settings = gather_settings(options) if options.resume is None else RenderSettings(*read_resumed(options))
    if settings.preview_only:
        write_preview(settings.request, options.motion_preview, settings.output.overwrite)
        print(json.dumps({"motion_preview": str(options.motion_preview)}) if options.json else options.motion_preview)
        return 0
    notes: list[str] = []
    bar = Bar(visible=not (options.quiet or options.json), preview=options.preview, notes=notes)
    bar.speaks = not (options.quiet or options.json)
    try:
        bar.stage("check")  # a driving video may take a while to read
        output = _check_before_loading(settings, options)
        if options.motion_preview is not None:
            with side_file("motion preview", options.motion_preview, notes, raising=(InputError,)):
                write_preview(settings.request, options.motion_preview, output.overwrite)
        started = time.perf_counter()
        bar.stage("load")
        if settings.like is not None:
            _check_repeatable(settings, settings.like, options.like)
            notes += difference_notes(settings.like, options.like)
        _check_before_weights(settings.request, output, options)
        engine = load_engine(settings.request, verbose=options.verbose)
        if settings.like is not None and settings.model_from_like:
            # again: one of the hub, or the digest of a pipeline in memory, is known only now
            check_recorded_weights(settings.request.model, settings.like.model, str(options.like), engine.backbone)
        loaded = time.perf_counter()
        written = _render(engine, replace(settings.request, model=engine.backbone.name), output, options, bar)
        if options.report is not None:
            with side_file("report", options.report, notes):
                _write_report(options.report, written.manifest)
    finally:
        bar.close()
    seconds = {"load": loaded - started, "total": time.perf_counter() - started}
    _announce(options, written, notes + written.notes, seconds)
    return 0 if written.problem is None else 1


def load_engine(request: RenderRequest, *, verbose: bool) -> Engine:
    """The model that a request names, on its device."""
    from videogen.engine.engine import Engine

    adopt_third_parties(verbose)
    return Engine.load(request.model or "embedded", dtype=request.dtype, device=request.device, offload=request.offload)


def _render(
    engine: Engine, request: RenderRequest, output: OutputSettings, options: argparse.Namespace, bar: Bar
) -> _Written:
    """Render and save, as one clip or segment by segment."""
    from videogen.techniques.effects import effect_notes, expected_no_effect

    resolved = request.resolve(engine.backbone)
    long_video.check_options(options.keep_job, options.preview, resolved.is_long)
    bar.announce(effect_notes(expected_no_effect(resolved, engine.backbone)))
    if not resolved.is_long:
        return _render_clip(engine, resolved, output, options.preview is not None, bar)
    video = long_video.render(engine, resolved, output, keep_job=options.keep_job, bar=bar)
    notes = long_video.collect_notes(video)
    return _Written(
        video.path, video.frames, video.size, float(video.fps), video.manifest, notes, video.saved_elsewhere
    )


def _render_clip(engine: Engine, request: ResolvedRequest, output: OutputSettings, preview: bool, bar: Bar) -> _Written:
    from videogen.backbones.conditioning import PromptReading, negative_prompt_notes

    video = engine.render(request, progress=bar, preview_every=1 if preview else 0)
    bar.stage("save")
    assert video.manifest is not None
    video.manifest["output"] = {"quality": output.quality}
    measured = video.manifest["measured"]
    notes = [*request.notes, *PromptReading(**measured["prompt"]).notes(), *negative_prompt_notes(measured)]
    notes += measured.get("motion", {}).get("notes", ())
    saved = save_clip(video, output)
    return _Written(saved.path, len(video), video.size, float(video.fps), video.manifest, notes, saved.saved_elsewhere)


def _check_before_loading(settings: RenderSettings, options: argparse.Namespace) -> OutputSettings:
    """The output settings with the file's checked path. InputError for what can be refused before torch is imported."""
    from videogen.backbones.registry import locate
    from videogen.media.writer import check_target
    from videogen.schedulers.solvers import check_solver

    request, output = settings.request, settings.output
    path = check_output(check_target(output.path, fps=request.fps, quality=output.quality), output.overwrite)
    check_solver(request.solver)
    if settings.model_from_like:
        check_allowed(request.model, str(options.like), allow_model=options.allow_model)
    locate(request.model or "embedded")
    if options.preview is not None:
        _check_side_file("preview", options.preview, (".png", ".jpg"), output.overwrite)
    if options.report is not None:
        _check_side_file("report", options.report, (".html", ".htm"), output.overwrite)
    _check_distinct(path, options.preview, options.report, options.motion_preview)
    check_motion(request)
    return replace(output, path=path)


def _check_before_weights(request: RenderRequest, output: OutputSettings, options: argparse.Namespace) -> None:
    """InputError or UnsupportedError for what the model cannot serve, from its configuration files alone."""
    from videogen.backbones.registry import load_outline
    from videogen.techniques.build import check_techniques

    outline = load_outline(request.model or "embedded", online=True)
    adopt_third_parties(options.verbose)
    if outline is None:
        return
    resolved = replace(request, model=None, dtype=None, device=None).resolve(outline)
    long_video.check_options(options.keep_job, options.preview, resolved.is_long)
    long_video.check_space(resolved, outline, output.path)
    try:
        check_techniques(resolved, outline)
    except VideogenError:
        raise
    except Exception as error:  # a library that needs weights: the run itself then says what does not fit
        logging.getLogger("videogen").info("techniques were not checked before loading: %s", error)


def _check_repeatable(settings: RenderSettings, like: Manifest, name: Path) -> None:
    """InputError where the weights or a file of the motion are not those of the video to repeat: nothing is loaded."""
    if settings.model_from_like:
        check_recorded_weights(settings.request.model, like.model, str(name))
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


def _announce(options: argparse.Namespace, written: _Written, notes: list[str], seconds: dict[str, float]) -> None:
    width, height = written.size
    if written.problem is not None:
        print(f"videogen: {printable(written.problem)}", file=sys.stderr)
    if options.json:
        result = {
            "path": str(written.path), "frames": written.frames, "width": width, "height": height, "fps": written.fps,
            "problem": written.problem, "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "notes": notes, "manifest": written.manifest,
        }  # fmt: skip
        print(json.dumps(result))
        return
    print(written.path)
    if not options.quiet:
        for note in notes:
            print(f"note: {printable(note)}", file=sys.stderr)
        size = f"{plural(written.frames, 'frame')}, {width}x{height}, {written.fps:g} fps"
        print(f"{size}, in {seconds['total']:.1f} s", file=sys.stderr)
