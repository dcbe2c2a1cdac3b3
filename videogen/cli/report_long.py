"""The part of `--report` that shows a long video's segments, how their joins stand out, and what it does over its
length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from videogen.metrics.seams import RATIO_LIMIT, STALL_LIMIT

_WIDTH, _HEIGHT, _LEFT = 560, 170, 40
_TREND = (
    ("colour_de", "trend of the colour (Lab distance)"),
    ("gap_de", "last second from the first (Lab distance)"),
    ("contrast", "contrast, end over start"),
    ("sharpness", "sharpness, end over start"),
    ("chroma", "change of chroma"),
    ("clipped", "change of the share of clipped pixels"),
)


def long_section(found: Mapping[str, Any], request: Mapping[str, Any]) -> list[str]:
    """HTML of a manifest's `measured.long`, and of the request's story."""
    report, policy = found["report"], found["continuity"]
    numbers = ", ".join(f"{name} {value}" for name, value in policy.items() if name != "policy" and value is not None)
    summary = [
        ("continuity", f"{policy['policy']} ({numbers})"), ("clip", f"{request['window']} frames, {found['clip_latents']} latents"),
        ("segments", str(len(found["segments"]))), ("faults", ", ".join(report["faults"]) or "none"),
    ]  # fmt: skip
    if trial := found.get("trial"):
        for name, row in trial["policies"].items():
            seams = "no joins to judge" if row["seam_ratio"] is None else f"seams {row['seam_ratio']:.2f}"
            summary.append((f"tried: {name}", f"{seams}, motion {row['motion']:.2f} of a single clip's"))
    for shot in found.get("motion", {}).get("shots", ()):
        floor = f" (the measuring's own error {shot['floor_px']:.2f})" if "floor_px" in shot else ""
        figure = f"{shot['error_px']:.2f} px a frame off the {shot['target_px']:.2f} asked for{floor}"
        summary.append((f"motion of shot {shot['shot']}", figure))
    parts = ["<h2>Long video</h2>", _rows(summary)]
    if request.get("story"):
        parts += ["<h2>Shots</h2>", _shots(request["story"])]
    parts += ["<h2>Segments</h2>", _segments(found["segments"])]
    if report["seams"]:
        legend = (
            f"the step over each join over the steps around it, by frame: about 1 where nothing shows; dashed: the limits, above "
            f"{RATIO_LIMIT:g} a jump, below {STALL_LIMIT:g} a stop; the median is {report['median_ratio']:.3g}"
        )
        parts += ["<h2>Joins</h2>", _joins(report), f'<p class="note">{escape(legend)}</p>']
    return [*parts, "<h2>Over its length</h2>", _rows(_over_length(report))]


def _over_length(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    drift, again, still = report["drift"], report["repetition"], report["freeze"]
    if drift is None:
        yield "drift", "too short to tell"
    else:
        yield from ((about, f"{drift[name]:.3g}") for name, about in _TREND)
    if again is None:
        yield "repetition", "too short to tell"
    else:
        where = f"{again['frames']} frames from {again['first']} on and from {again['second']} on"
        yield "most similar", f"{where}: {again['similarity']:.2f} (1 is equal)"
    yield (
        "still",
        f"{100 * still['share']:.0f} % of its frames, {still['longest_s']:.2f} s on end at most, from frame {still['at']} on",
    )


def _shots(story: Mapping[str, Any]) -> str:
    columns = ("start", "end", "transition", "seed", "prompt")
    titles = (f"from ({story['unit']})", "to", "begins", "seed", "prompt")
    return _grid(titles, ([shot[name] for name in columns] for shot in story["shots"]))


def _segments(rows: Sequence[Mapping[str, Any]]) -> str:
    """attempt 0: the first was taken; figures of other techniques where they took part."""
    extra = [name for name in ("attention", "propagation") if any(name in row for row in rows)]
    names = ("first_frame", "latents", "attempt")
    cells = (
        [i, *(row[name] for name in names), *(_told(row.get(name)) for name in extra)] for i, row in enumerate(rows)
    )
    return _grid(("segment", "first frame", "latents", "attempt", *extra), cells)


def _told(figures: Mapping[str, Any] | None) -> str:
    return "; ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in (figures or {}).items())


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{len(value)} steps"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _joins(report: Mapping[str, Any]) -> str:
    """A dot a join, with a line down to 1; red where a limit is broken."""
    seams, frames = report["seams"], max(report["frames"], 1)
    top = 1.1 * max(RATIO_LIMIT, *(seam["ratio"] for seam in seams))

    def x(frame: float) -> float:
        return _LEFT + frame / frames * (_WIDTH - _LEFT - 10)

    def y(ratio: float) -> float:
        return 10 + (1 - ratio / top) * (_HEIGHT - 30)

    drawn = [
        f'<text x="0" y="{y(1) + 4:.1f}">1</text><text x="{_LEFT}" y="{_HEIGHT - 2}">frame 0 to {frames - 1}</text>'
    ]
    drawn.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(1):.1f}" y2="{y(1):.1f}" stroke="#ccc"/>')
    for limit in (RATIO_LIMIT, STALL_LIMIT):
        drawn.append(f'<text x="0" y="{y(limit) + 4:.1f}">{limit:g}</text>')
        drawn.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(limit):.1f}" y2="{y(limit):.1f}" stroke="#c33" stroke-dasharray="5 4"/>'
        )
    for seam in seams:
        colour = "#2667c9" if STALL_LIMIT <= seam["ratio"] <= RATIO_LIMIT else "#c33"
        at, high = f"{x(seam['frame']):.1f}", f"{y(seam['ratio']):.1f}"
        title = ", ".join(f"{name} {value:.3g}" for name, value in seam.items())
        drawn.append(f'<line x1="{at}" x2="{at}" y1="{y(1):.1f}" y2="{high}" stroke="{colour}"/>')
        drawn.append(f'<circle cx="{at}" cy="{high}" r="3" fill="{colour}"><title>{escape(title)}</title></circle>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">{"".join(drawn)}</svg>'


def _grid(titles: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    return "" if value is None else escape(str(value))


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows) + "</table>"
