"""The part of `--report` on a long video: its segments, how visible its seams are, and its drift over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from videogen.metrics.seams import RATIO_LIMIT, STALL_LIMIT

from .inspect import motion_error
from .report_html import grid, note, table
from .text import attempt_label
from .types import Json

_WIDTH, _HEIGHT, _LEFT = 560, 170, 40
_DRIFT = (
    ("colour_de", "colour drift (Lab distance)"),
    ("gap_de", "last second from the first (Lab distance)"),
    ("contrast", "contrast, end over start"),
    ("sharpness", "sharpness, end over start"),
    ("chroma", "change of chroma"),
    ("clipped", "change of the fraction of clipped pixels"),
)


def long_section(long: Json, request: Json) -> list[str]:
    """HTML of a manifest's `measured.long`, and of the request's story."""
    report, policy = long["report"], long["continuity"]
    settings = ", ".join(f"{name} {value}" for name, value in policy.items() if name != "policy" and value is not None)
    summary = [
        ("continuity", f"{policy['policy']} ({settings})"),
        ("clip", f"{request['window']} frames, {long['clip_latents']} latents"),
        ("segments", str(len(long["segments"]))),
        ("faults", ", ".join(report["faults"]) or "none"),
    ]
    for name, row in long.get("trial", {}).get("policies", {}).items():
        seams = "no joins to measure" if row["seam_ratio"] is None else f"seam ratio {row['seam_ratio']:.2f}"
        summary.append((f"trial of {name}", f"{seams}, motion {row['motion']:.2f} of a single clip's"))
    for shot in long.get("motion", {}).get("shots", ()):
        summary.append((f"motion of shot {shot['shot']}", motion_error(shot)))
    parts = ["<h2>Long video</h2>", table(summary)]
    if request.get("story"):
        parts += ["<h2>Shots</h2>", _shots(request["story"])]
    parts += ["<h2>Segments</h2>", _segments(long["segments"])]
    if report["seams"]:
        legend = (
            "change across each join relative to the changes around it, by frame: about 1 where the seam is invisible; "
            f"dashed: the limits, above {RATIO_LIMIT:g} a jump, below {STALL_LIMIT:g} a stall; the median is "
            f"{report['median_ratio']:.3g}"
        )
        parts += ["<h2>Joins</h2>", _joins(report), note(legend)]
    return [*parts, "<h2>Over time</h2>", table(_over_time(report))]


def _over_time(report: Json) -> Iterable[tuple[str, str]]:
    drift, repetition, freeze = report["drift"], report["repetition"], report["freeze"]
    if drift is None:
        yield "drift", "the video is too short to measure it"
    else:
        yield from ((description, f"{drift[name]:.3g}") for name, description in _DRIFT)
    if repetition is None:
        yield "repetition", "the video is too short to measure it"
    else:
        where = f"{repetition['frames']} frames from {repetition['first']} and from {repetition['second']}"
        yield "most similar", f"{where}: {repetition['similarity']:.2f} (1 is equal)"
    longest = f"at most {freeze['longest_s']:.2f} s at a time, from frame {freeze['at']}"
    yield "frozen", f"{100 * freeze['fraction']:.0f} % of its frames, {longest}"


def _shots(story: Json) -> str:
    columns = ("start", "end", "transition", "seed", "prompt")
    titles = (f"from ({story['unit']})", "to", "begins", "seed", "prompt")
    return grid(titles, ([shot[name] for name in columns] for shot in story["shots"]))


def _segments(rows: Sequence[Json]) -> str:
    """attempt 0 is the first one; figures of other techniques where they were used."""
    extra = [name for name in ("attention", "propagation") if any(name in row for row in rows)]
    cells: list[list[object]] = []
    for index, row in enumerate(rows):
        figures = (_figures(row.get(name)) for name in extra)
        cells.append([index, row["first_frame"], row["latents"], attempt_label(row), *figures])
    return grid(("segment", "first frame", "latents", "attempt", *extra), cells)


def _figures(figures: Json | None) -> str:
    return "; ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in (figures or {}).items())


def _short(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"{len(value)} steps"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _joins(report: Json) -> str:
    """One dot per join, with a line down to 1; red where a limit is exceeded."""
    seams, frames = report["seams"], max(report["frames"], 1)
    top = 1.1 * max(RATIO_LIMIT, *(seam["ratio"] for seam in seams))

    def x(frame: float) -> float:
        return _LEFT + frame / frames * (_WIDTH - _LEFT - 10)

    def y(ratio: float) -> float:
        return 10 + (1 - ratio / top) * (_HEIGHT - 30)

    def level(ratio: float, style: str) -> str:
        return f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(ratio):.1f}" y2="{y(ratio):.1f}" {style}/>'

    shapes = [
        f'<text x="0" y="{y(1) + 4:.1f}">1</text><text x="{_LEFT}" y="{_HEIGHT - 2}">frame 0 to {frames - 1}</text>',
        level(1, 'stroke="#ccc"'),
    ]
    for limit in (RATIO_LIMIT, STALL_LIMIT):
        shapes.append(f'<text x="0" y="{y(limit) + 4:.1f}">{limit:g}</text>')
        shapes.append(level(limit, 'stroke="#c33" stroke-dasharray="5 4"'))
    for seam in seams:
        colour = "#2667c9" if STALL_LIMIT <= seam["ratio"] <= RATIO_LIMIT else "#c33"
        left, high = f"{x(seam['frame']):.1f}", f"{y(seam['ratio']):.1f}"
        title = ", ".join(f"{name} {value:.3g}" for name, value in seam.items())
        shapes.append(f'<line x1="{left}" x2="{left}" y1="{y(1):.1f}" y2="{high}" stroke="{colour}"/>')
        shapes.append(f'<circle cx="{left}" cy="{high}" r="3" fill="{colour}"><title>{escape(title)}</title></circle>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">{"".join(shapes)}</svg>'
