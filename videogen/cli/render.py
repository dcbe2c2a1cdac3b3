"""`videogen render`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError
from videogen.core.files import atomic_path, check_output
from videogen.core.logs import adopt_third_parties
from videogen.core.manifest import Manifest, collect_versions
from videogen.request.request import RenderRequest
from videogen.request.resolved import ResolvedRequest

from . import long_video
from .jobs import resumed
from .motion import check_motion, write_preview
from .progress import Bar
from .settings import default_output, gather
from .text import printable

if TYPE_CHECKING:
    from videogen.engine.engine import Engine


@dataclass(frozen=True)
class _Made:
    """What was written. size: (width, height) in px."""

    frames: int
    size: tuple[int, int]
    fps: float
    manifest: dict[str, Any]
    notes: list[str]


def run(options: argparse.Namespace) -> int:
    """Check everything that needs no model, then load, render and save."""
    request, output, like = gather(options) if options.resume is None else (*resumed(options), None)
    if output.get("preview_only"):
        write_preview(request, options.motion_preview, bool(output.get("overwrite")))
        print(options.motion_preview)
        return 0
    path = _checked_output(
        Path(output.get("output") or default_output(request, output.get("story"))), output, request.fps
    )
    _check_names(request)
    overwrite = bool(output.get("overwrite"))
    if options.preview is not None:
        _check_side_file("preview", options.preview, (".png", ".jpg"), overwrite)
    if options.report is not None:
        _check_side_file("report", options.report, (".html", ".htm"), overwrite)
    _check_apart(path, options.preview, options.report, options.motion_preview)
    check_motion(request)
    if options.motion_preview is not None:
        write_preview(request, options.motion_preview, overwrite)
    bar = Bar(show=not (options.quiet or options.json), preview=options.preview)
    begun = time.perf_counter()
    try:
        bar.stage("load")
        from videogen.engine.engine import Engine

        adopt_third_parties(options.verbose)
        engine = Engine.load(
            request.model or "embedded", dtype=request.dtype, device=request.device, offload=request.offload
        )
        notes = _compare(like, engine, options)
        request = replace(request, model=engine.backbone.name)
        loaded = time.perf_counter()
        made = _made(engine, request, path, output, options, bar)
        if options.report is not None:
            _write_report(options.report, made.manifest)
    finally:
        bar.close()
    _announce(options, path, made, notes + made.notes, {"load": loaded - begun, "total": time.perf_counter() - begun})
    return 0


def _made(
    engine: Engine, request: RenderRequest, path: Path, output: dict[str, Any], options: argparse.Namespace, bar: Bar
) -> _Made:
    """Render and save, as one clip or segment by segment."""
    resolved = request.resolve(engine.backbone)
    long_video.check_clip_only(options.keep_job, options.preview, resolved.is_long)
    if not resolved.is_long:
        return _clip(engine, resolved, path, output, options.preview is not None, bar)
    video = long_video.render(engine, resolved, path, output, keep_job=options.keep_job, bar=bar)
    return _Made(video.frames, video.size, float(video.fps), video.manifest, long_video.notes_of(video))


def _clip(
    engine: Engine, request: ResolvedRequest, path: Path, output: dict[str, Any], preview: bool, bar: Bar
) -> _Made:
    from videogen.backbones.base import PromptReading

    video = engine.render(request, progress=bar, preview_every=1 if preview else 0)
    bar.stage("save")
    assert video.manifest is not None
    video.manifest["output"] = {"quality": output.get("quality")}
    notes = PromptReading(**video.manifest["measured"]["prompt"]).notes()
    video.save(path, quality=output.get("quality"), overwrite=bool(output.get("overwrite")))
    return _Made(len(video), video.size, float(video.fps), video.manifest, notes)


def _checked_output(path: Path, output: dict[str, Any], fps: float | None) -> Path:
    from videogen.media.writer import check_target

    return check_output(check_target(path, fps=fps, quality=output.get("quality")), bool(output.get("overwrite")))


def _check_names(request: RenderRequest) -> None:
    """What can be refused before torch is even imported."""
    from videogen.backbones.registry import locate
    from videogen.schedulers.solvers import check_solver

    check_solver(request.solver)
    locate(request.model or "embedded")


def _check_side_file(what: str, path: Path, suffixes: tuple[str, ...], overwrite: bool) -> None:
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{what} {str(path)!r} must end in {' or '.join(suffixes)}")
    check_output(path, overwrite)


def _check_apart(*paths: Path | None) -> None:
    """InputError where two results would go to one file."""
    named = [path.absolute() for path in paths if path is not None]
    twice = next((path for path in named if named.count(path) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is named for two results; give each a file of its own")


def _write_report(path: Path, manifest: dict[str, Any]) -> None:
    from .report import page

    with atomic_path(path, overwrite=True) as partial:
        partial.write_text(page(manifest), encoding="utf-8")


def _compare(like: Manifest | None, engine: Engine, options: argparse.Namespace) -> list[str]:
    """What may keep a repeated render from being the same. InputError where the model's weights have changed."""
    if like is None:
        return []
    then, now = str(like.model.get("hash")), engine.backbone.digest
    if options.model is None and then != now:
        raise InputError(
            f"{like.model.get('name')} has other weights than when {options.like} was made ({then[:8]} then, {now[:8]} now), "
            "so its frames cannot be made again; to render with the model as it is, name it with --model"
        )
    _compare_files(like, options)
    versions = collect_versions()
    changed = [
        f"{k} {v} (now {versions.get(k, 'not installed')})" for k, v in like.versions.items() if versions.get(k) != v
    ]
    notes = [f"{options.like} was made with {', '.join(changed)}: frames may differ in the last bit"] if changed else []
    if "batch" in like.measured:
        notes.append(
            f"{options.like} was made in a batch of {like.measured['batch'].get('size')}: alone, values may differ by 1 of 255"
        )
    redone = [
        str(i) for i, segment in enumerate(like.measured.get("long", {}).get("segments", ())) if segment.get("redone")
    ]
    if redone:
        notes.append(
            f"in {options.like} these segments were made again by `story redo`, which is not repeated: {', '.join(redone)}"
        )
    return notes


def _compare_files(like: Manifest, options: argparse.Namespace) -> None:
    """InputError where a file that the motion was read from has changed."""
    from videogen.core.files import digest

    for name, then in like.measured.get("motion", {}).get("files", {}).items():
        if digest(Path(name)) != then:
            raise InputError(
                f"{name} has changed since {options.like} was made, so its frames cannot be made again; bring the file back"
            )


def _announce(
    options: argparse.Namespace, path: Path, made: _Made, notes: list[str], seconds: dict[str, float]
) -> None:
    width, height = made.size
    if options.json:
        result = {
            "path": str(path), "frames": made.frames, "width": width, "height": height, "fps": made.fps,
            "seconds": {name: round(value, 3) for name, value in seconds.items()}, "notes": notes, "manifest": made.manifest,
        }  # fmt: skip
        print(json.dumps(result))
        return
    print(path)
    if not options.quiet:
        for note in notes:
            print(f"note: {printable(note)}", file=sys.stderr)
        print(f"{made.frames} frames, {width}x{height}, {made.fps:g} fps, in {seconds['total']:.1f} s", file=sys.stderr)
