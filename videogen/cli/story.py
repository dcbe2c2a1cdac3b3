"""`videogen story`: a story's shots, a long video's segments, one of them made again, the policies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.core.errors import InputError
from videogen.core.logs import adopt_third_parties
from videogen.request.continuity import AUTO, MEASURED, OFF
from videogen.request.continuity_policies import PRESETS, ROWS

from . import long_video
from .jobs import kept, output_of, read_job
from .progress import Bar
from .text import printable

if TYPE_CHECKING:
    from videogen.timeline.timeline import Timeline

_VIDEOS = (".mp4", ".webm", ".gif", ".job")
POLICIES = {
    AUTO: "clean_prefix where a frame takes a timestep of its own (both embedded models), else overlap (UNets) or replay",
    OFF: "one clip, however long: memory and time grow with it, and few models hold together beyond their native length",
    MEASURED: "a trial of 3.5 clips under each of replay, overlap, co_denoise, cono and others that fit; the least seams win",
    **{name: row.description for name, row in ROWS.items()},
}
SETTINGS = {
    "overlap": "latent frames that a clip shares with what is before it",
    "fade": "the last of these that are cross-faded (overlap: all; replay: none where it copies to the end)",
    "release": "share of the steps, 0 to 1, in which shared frames copy (replay: all; look_back: 0.8)",
    "pull": "how far a clip is drawn to the mean of the one before, 0 to 1; not beyond a cut",
    "noise": "iid, freenoise, cono (look_back's) or warped (follows a motion)",
    "refresh": "share of new noise in cono's, 0 to 1",
    "windows": "windows of co_denoise and window_attention that are made together",
}


def run(options: argparse.Namespace) -> int:
    if options.action == "policies":
        _policies()
    elif options.action == "redo":
        _redo(options)
    else:
        _show(options.what)
    return 0


def _policies() -> None:
    for name, about in POLICIES.items():
        spec = f": {PRESETS[name].spec}" if name in PRESETS else ""
        print(f"{name:<18}{about}{spec}")
    print("\nsettings, as in replay:overlap=4,release=0.6")
    for name, about in SETTINGS.items():
        print(f"  {name:<16}{about}")


def _show(what: Path) -> None:
    from videogen.timeline import Timeline, read_story

    output = output_of(what)
    if what.suffix.lower() not in _VIDEOS and not what.is_dir() and kept(output) is None:
        return _print_shots(read_story(what))
    if output.exists():
        request, segments, footer = _of_video(output)
        state = "attempt"
    else:
        request, segments, footer = _of_job(output)
        state = "state"
    story = request["story"]
    if story is None:
        print(f"one prompt: {printable(request['prompt'])}")
    else:
        _print_shots(story if isinstance(story, Timeline) else Timeline.from_dict(story))
    print()
    _table(("segment", "frames", "seconds", state), segments)
    print(f"\n{footer}")


def _of_video(output: Path) -> tuple[dict[str, Any], list[Sequence[str]], str]:
    """The request, the segments' rows and what to say of the job, from a finished video's manifest."""
    from videogen.media.metadata import read_manifest

    manifest = read_manifest(output)
    if manifest is None:
        raise InputError(f"{output} carries no videogen manifest; only what videogen rendered can be shown")
    found = manifest.get("measured", {}).get("long")
    if found is None:
        raise InputError(
            f"{output} is a single clip and has no segments; videogen inspect {output} says how it was made"
        )
    rows, request = found["segments"], manifest["request"]
    starts = [row["first_frame"] for row in rows]
    told = [_segment(i, starts, request, str(row["attempt"])) for i, row in enumerate(rows)]
    has_job = kept(output) is not None
    redo = f"again with other noise: videogen story redo PIECE {output}"
    return request, told, redo if has_job else "no job was kept: to make single segments again, render with --keep-job"


def _of_job(output: Path) -> tuple[dict[str, Any], list[Sequence[str]], str]:
    """The same of a render that is not finished; its model is loaded, which knows the segments' frames."""
    from dataclasses import replace

    request, _ = read_job(output)
    from videogen.engine.engine import Engine

    adopt_third_parties()
    backbone = Engine.load(request.model or "embedded", device="cpu").backbone
    resolved = replace(request, device=None, dtype=None).resolve(backbone)
    segments, latent_map = long_video.segments_of(resolved, backbone), resolved.latent_timeline(backbone.geometry).latent_map
    starts = [latent_map.frames_of(segment.scene.video_latent(segment.start)).start for segment in segments]
    done = kept(output) or 0
    rows = [_segment(i, starts, resolved.to_dict(), "done" if i < done else "to make") for i in range(len(segments))]
    return (
        resolved.to_dict(),
        rows,
        f"{done} of {len(segments)} segments are done; to go on: videogen render --resume {output}",
    )


def _segment(index: int, starts: list[int], request: dict[str, Any], state: str) -> Sequence[str]:
    stop = starts[index + 1] if index + 1 < len(starts) else request["frames"]
    times = f"{starts[index] / request['fps']:.2f}-{stop / request['fps']:.2f}"
    return str(index), f"{starts[index]}-{stop - 1}", times, state


def _print_shots(story: Timeline) -> None:
    from videogen.timeline.timeline import number

    rows = []
    for index, shot in enumerate(story.shots):
        end = "" if shot.end is None else number(shot.end)
        seed, moves = "" if shot.seed is None else str(shot.seed), "yes" if shot.motion is not None else ""
        begins = str(shot.transition) if index else ""
        rows.append((str(index), f"{number(shot.start)}-{end}", begins, seed, moves, printable(shot.prompt)))
    _table(("shot", story.unit, "begins", "seed", "motion", "prompt"), rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns, of which those that say nothing are left out."""
    shown = [column for column in zip(titles, *rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in shown]
    for line in zip(*shown, strict=True):
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _redo(options: argparse.Namespace) -> None:
    output = output_of(options.video)
    request, _ = read_job(output)
    done = kept(output) or 0
    if not 0 <= options.chunk < done:
        there = f"0 to {done - 1}" if done else "none yet"
        raise InputError(
            f"segment {options.chunk} is not among those that are done ({there}); videogen story show {output} lists them"
        )
    if options.attempt is not None and options.attempt < 1:
        raise InputError(f"attempt={options.attempt} must be 1 or more")
    bar = Bar(show=not options.quiet)
    try:
        bar.stage("load")
        from videogen.engine.engine import Engine

        adopt_third_parties(options.verbose)
        engine = Engine.load(
            request.model or "embedded", dtype=request.dtype, device=request.device, offload=request.offload
        )
        video = engine.redo(output, options.chunk, attempt=options.attempt, progress=bar)
    except KeyboardInterrupt as stop:
        stop.args = (
            f"{output} is as it was; a segment that was made by then is shown by videogen render --resume {output} --overwrite",
        )
        raise
    finally:
        bar.close()
    print(video.path)
    if not options.quiet:
        for note in video.notes:
            print(f"note: {printable(note)}", file=sys.stderr)
        row = video.manifest["measured"]["long"]["segments"][options.chunk]
        print(
            f"segment {options.chunk} made again, attempt {row['redone']}, from frame {row['first_frame']} on",
            file=sys.stderr,
        )
