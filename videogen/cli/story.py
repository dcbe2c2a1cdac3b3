"""`videogen story`: a story's shots, a long video's segments, one segment regenerated, the continuity policies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videogen.backbones.recorded import check_job_weights
from videogen.backbones.registry import read_model
from videogen.core.errors import InputError, VideogenError
from videogen.longvideo.journal.job import job_folder
from videogen.request.continuity import AUTO, MEASURED, OFF
from videogen.request.continuity_noise import NOISES
from videogen.request.continuity_policies import (
    POLICIES,
    PRESETS,
    ROWS,
    PolicyRow,
    describe_automatic,
    names_where,
    suggested_policy,
    trial_names,
)
from videogen.schedulers.windows import WEIGHTS

from .jobs import check_model, count_done, output_of, read_job
from .progress import Bar
from .render import load_engine
from .text import attempt_label, plural, printable
from .types import Json

if TYPE_CHECKING:
    from videogen.backbones.geometry import LatentGeometry
    from videogen.request.request import RenderRequest
    from videogen.timeline.timeline import Timeline

_VIDEOS = (".mp4", ".mkv", ".webm", ".gif", ".job")
#: Names that a request may give instead of a policy's.
CHOICES = {
    AUTO: describe_automatic(),
    OFF: "one clip of any length: memory and time grow, and few models stay consistent beyond their native length",
    MEASURED: f"fewest visible seams in a trial of {', '.join(trial_names())}",
}
SETTINGS = {
    "overlap": "latent frames that a clip shares with what precedes it",
    "fade": "how many of these, the last ones, are cross-faded (default: all in "
    f"{names_where(lambda row: row.cross_fade == 'always')}; with release below 1 also in "
    f"{names_where(lambda row: row.cross_fade == 'after release')})",
    "release": "fraction of the steps, 0 to 1, in which shared frames are copied (default: 1 in "
    f"{names_where(lambda row: row.release == 1)}, else {PolicyRow.release:g})",
    "mean_regularisation": "strength of the mean regularisation towards the clip before, 0 to 1; not across a cut",
    "noise": "a kind below"
    + "".join(f"; {row.name}: {', '.join(row.noises)}" for row in POLICIES.values() if row.noises != PolicyRow.noises),
    "refresh": "fraction of new noise in cono's permutations, 0 to 1",
    "weights": f"how windows are averaged: {', '.join(WEIGHTS)} (default: triangular)",
    "fusion": "what is averaged where windows overlap: block (default) or attention, as in FreeNoise",
    "mean_space": "what the mean regularisation acts on: prediction, v, x0 or eps (default: v of noise predictions)",
    "mean_power": "its strength is multiplied by this power of the noise level (default: 1; 0: constant)",
    "n2": "latent frames that the middle clip copies on the right",
    "handover": "how many of the middle clip's last latent frames the next clip copies (default: n2)",
    "right_release": "as release, for the frames that the middle clip copies on the right",
    "mean_of": "the clip to whose mean others are regularised: adjacent (default) or the scene's first",
    "windows": "windows that are denoised together; all: each scene as one clip, whose memory grows with its length",
}


def run(options: argparse.Namespace) -> int:
    if options.action == "policies":
        _print_policies()
    elif options.action in ("redo", "restore"):
        return _change_segment(options)
    else:
        _show(options.what)
    return 0


def _print_policies() -> None:
    for name, description in CHOICES.items():
        print(f"{name:<22}{description}")
    for name, row in ROWS.items():
        print(f"{name:<22}{row.description}")
        if name in PRESETS:
            print(f"{'':<22}{PRESETS[name].spec}")
    print(f"\nsettings, as in {suggested_policy()}:overlap=4,release=0.6")
    for name, description in SETTINGS.items():
        print(f"  {name:<20}{description}")
        print(f"{'':<22}for {', '.join(_policies_with(name))}")
    print("\nnoise")
    for noise in NOISES.values():
        print(f"  {noise.name:<20}{noise.description}")


def _policies_with(setting: str) -> Iterator[str]:
    """The policies on which a setting has an effect."""
    for row in POLICIES.values():
        if setting == "noise" or setting in row.configurable:
            yield row.name


def _show(path: Path) -> None:
    from videogen.timeline import Timeline, read_story

    output = output_of(path)
    if path.suffix.lower() not in _VIDEOS and not path.is_dir() and count_done(output) is None:
        return _print_shots(read_story(path))
    if output.exists():
        request, segments, footer = _read_video(output)
        state: tuple[str, ...] = ("attempt", "stored attempts", "seam ratio")
    else:
        request, segments, footer = _read_unfinished(output)
        state = ("state",)
    story = request["story"]
    if story is None:
        print(f"one prompt: {printable(request['prompt'])}")
    else:
        _print_shots(story if isinstance(story, Timeline) else Timeline.from_dict(story))
    print()
    if segments:
        _print_table(("segment", "frames", "seconds", *state), segments)
        print()
    print(footer)


def _read_video(output: Path) -> tuple[Json, list[Sequence[str]], str]:
    """A finished video's request, its segments' rows, and what can be done with its job."""
    from videogen.longvideo.join_seams import join_seams
    from videogen.longvideo.journal.versions import list_versions
    from videogen.media.metadata import read_manifest

    manifest = read_manifest(output)
    if manifest is None:
        raise InputError(f"{output} has no videogen manifest; only videos that videogen wrote can be shown")
    long = manifest.get("measured", {}).get("long")
    if long is None:
        raise InputError(f"{output} is a single clip without segments; see videogen inspect {output}")
    rows, request = long["segments"], manifest["request"]
    starts = [row["first_frame"] for row in rows]
    segments = []
    for index, row in enumerate(rows):
        stored = ", ".join(map(str, list_versions(job_folder(output), index)))
        seam = join_seams(manifest, index)["start"]
        ratio = "" if seam is None else f"{seam.ratio:.2f}"
        segments.append(_segment_row(index, starts, request, attempt_label(row), stored, ratio))
    if count_done(output) is not None:
        return request, segments, f"to regenerate one with other noise: videogen story redo SEGMENT {output}"
    return request, segments, "its job was deleted: to regenerate single segments, render with --keep-job"


def _read_unfinished(output: Path) -> tuple[Json, list[Sequence[str]], str]:
    """The same for a render that is not finished, from its job alone; a job of an earlier version does not state its
    model's geometry, which is then read from the model's configuration files, if they are here."""
    from videogen.longvideo.stored_job import plan_stored

    job, done = read_job(output), count_done(output) or 0
    stored, command = job.request.to_dict(), f"videogen render --resume {output}"
    if job.starts:
        return stored, *_list_unfinished(list(job.starts), stored, done, command)
    geometry = job.geometry or _configured_geometry(job.request)
    if geometry is None:
        return stored, [], f"{plural(done, 'segment')} of this job are done; to resume: {command}"
    timeline, segments = plan_stored(job.request, geometry)
    starts = [timeline.latent_map.frames_of(segment.scene.video_latent(segment.start)).start for segment in segments]
    return stored, *_list_unfinished(starts, stored, done, command)


def _list_unfinished(starts: list[int], stored: Json, done: int, command: str) -> tuple[list[Sequence[str]], str]:
    """Rows of segments that begin with these frames, and what can be done next."""
    rows = [_segment_row(i, starts, stored, "done" if i < done else "to do") for i in range(len(starts))]
    return rows, f"{done} of {len(starts)} segments are done; to resume: {command}"


def _configured_geometry(request: RenderRequest) -> LatentGeometry | None:
    try:
        configured = read_model(request.model or "embedded", request.load_options())
    except VideogenError:  # it is not on this machine
        return None
    return None if configured is None else configured.geometry


def _segment_row(index: int, starts: list[int], request: Json, *state: str) -> Sequence[str]:
    stop = starts[index + 1] if index + 1 < len(starts) else request["frames"]
    times = f"{starts[index] / request['fps']:.2f}-{stop / request['fps']:.2f}"
    return str(index), f"{starts[index]}-{stop - 1}", times, *state


def _print_shots(story: Timeline) -> None:
    from videogen.timeline.timeline import format_number

    rows = []
    for index, shot in enumerate(story.shots):
        end = "" if shot.end is None else format_number(shot.end)
        seed, moves = "" if shot.seed is None else str(shot.seed), "yes" if shot.motion is not None else ""
        begins = str(shot.transition) if index else ""
        rows.append((str(index), f"{format_number(shot.start)}-{end}", begins, seed, moves, printable(shot.prompt)))
    _print_table(("shot", story.unit, "begins", "seed", "motion", "prompt"), rows)


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; empty columns are left out."""
    columns = [column for column in zip(titles, *rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    for line in zip(*columns, strict=True):
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _change_segment(options: argparse.Namespace) -> int:
    """Regenerate a segment, or restore an earlier version of it; the exit status."""
    output = output_of(options.video)
    job = read_job(output)
    done = count_done(output) or 0
    if not 0 <= options.segment < done:
        valid = f"0 to {done - 1}" if done else "none yet"
        raise InputError(
            f"segment {options.segment} is not among those that are done ({valid}); "
            f"videogen story show {output} lists them"
        )
    regenerate = options.action == "redo"
    if options.attempt is not None and options.attempt < (least := 1 if regenerate else 0):
        raise InputError(f"attempt={options.attempt} must be {least} or more")
    check_model(job, output, allow_model=options.allow_model)
    bar = Bar(visible=not options.quiet)
    try:
        bar.stage("load")
        check_job_weights(job.request.model, job.model, str(output), job.request.load_options())
        engine = load_engine(job.request, verbose=options.verbose, local_files_only=not options.allow_model)
        change = engine.redo if regenerate else engine.restore
        video = change(output, options.segment, attempt=options.attempt, progress=bar)
    except KeyboardInterrupt as stop:
        stop.args = (
            f"{output} is unchanged; if the segment was finished, videogen render --resume {output} --overwrite "
            "writes it",
        )
        raise
    finally:
        bar.close()
    print(video.path)
    if video.saved_elsewhere is not None:
        print(f"videogen: {printable(video.saved_elsewhere)}", file=sys.stderr)
    if not options.quiet:
        for note in video.notes:
            print(f"note: {printable(note)}", file=sys.stderr)
        print(_describe_change(video.manifest, options.segment, regenerate), file=sys.stderr)
    return 0 if video.saved_elsewhere is None else 1


def _describe_change(manifest: Json, index: int, regenerated: bool) -> str:
    from videogen.longvideo.join_seams import join_seams

    row = manifest["measured"]["long"]["segments"][index]
    change = "regenerated" if regenerated else "restored"
    seams = [f"{seam.ratio:.2f} at its {name}" for name, seam in join_seams(manifest, index).items() if seam]
    ratios = f"; seam ratio {', '.join(seams)}" if seams else ""
    return f"segment {index} {change}, attempt {row.get('redone', 0)}, from frame {row['first_frame']}{ratios}"
