"""`--report`: one self-contained page that draws what a render promised and what it reached, from its manifest
alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from .report_long import long_section
from .report_motion import motion_section
from .report_propagation import propagation_section

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}table{border-collapse:collapse}
td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}svg{max-width:100%;height:auto}
text{font:11px system-ui,sans-serif;fill:#444}.note{color:#666}
"""
_CELL, _LEFT, _WIDTH, _HEIGHT = 18, 190, 560, 200


def page(manifest: dict[str, Any]) -> str:
    """The page's HTML."""
    request = manifest["request"]
    parts = [
        f"<h1>{escape(str(request['prompt']))}</h1>",
        _table(_shown(request)),
        _stages(manifest.get("timings_s", {})),
    ]
    long = manifest.get("measured", {}).get("long")
    if long:
        parts += long_section(long, request)
    attention = manifest.get("measured", {}).get("attention")
    if attention:
        parts += _attention(attention)
    elif request.get("attention", "dense") == "dense":  # of a long video, what was left out stands with its segments
        parts += ["<h2>Attention</h2><p>Dense: nothing was left out.</p>"]
    propagation = manifest.get("measured", {}).get("propagation")
    if propagation:
        parts += propagation_section(propagation)
    motion = manifest.get("measured", {}).get("motion")
    if motion:
        parts += motion_section(motion, request)
    body = "\n".join(parts)
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>videogen report</title><style>{_STYLE}</style>{body}</html>\n'


def _shown(request: dict[str, Any]) -> list[tuple[str, Any]]:
    keys = (
        "model", "frames", "width", "height", "steps", "guidance_scale", "seed", "solver", "attention", "recall", "propagate",
        "dtype", "device",
    )  # fmt: skip
    return [(key, request[key]) for key in keys if request.get(key) is not None]


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    return "<table>" + "".join(f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in rows) + "</table>"


def _stages(timings_s: dict[str, float]) -> str:
    """One bar, a segment a stage."""
    total = sum(timings_s.values())
    if total <= 0:
        return ""
    segments, at = [], 0.0
    for index, (name, seconds) in enumerate(timings_s.items()):
        width = _WIDTH * seconds / total
        where = f'x="{at:.1f}" width="{width:.1f}" height="22" fill="hsl({200 + 60 * index} 55% 60%)"'
        segments.append(f"<rect {where}><title>{escape(name)}: {seconds:.2f} s</title></rect>")
        if width > 70:
            segments.append(f'<text x="{at + 4:.1f}" y="15">{escape(name)} {seconds:.2f} s</text>')
        at += width
    return f'<h2>Seconds by stage</h2><svg viewBox="0 0 {_WIDTH} 22" width="{_WIDTH}">{"".join(segments)}</svg>'


def _attention(report: dict[str, Any]) -> list[str]:
    promised = ", ".join(f"{name} {value:g}" for name, value in report["promised"].items())
    parts = [
        "<h2>Attention</h2>",
        _table([
            ("promised", promised), ("least recall measured", _figure(report["least_recall"])),
            ("mean density", _figure(report["mean_density"])), ("tokens", f"{report['tokens']:,}"),
        ]),
    ]  # fmt: skip
    if report["sites"]:
        parts += ["<h2>Density by layer and step</h2>", _heat_map(report["sites"], report["density"])]
        parts += ["<h2>Recall by step (the worst head of all layers)</h2>", _curves(report)]
    if report["dense"]:
        parts += [
            "<h2>Calls that ran dense</h2>",
            _table((reason, f"{count} calls") for reason, count in report["dense"].items()),
        ]
    if report["untouched"]:
        parts += ["<h2>Layers that took no part</h2>", _table(report["untouched"].items())]
    return parts


def _heat_map(sites: Sequence[str], density: Sequence[Sequence[float | None]]) -> str:
    """A cell a layer and step: the darker, the more was computed."""
    cells = []
    for y, (site, row) in enumerate(zip(sites, density, strict=True)):
        cells.append(f'<text x="0" y="{y * _CELL + 13}">{escape(site[-30:])}</text>')
        for x, value in enumerate(row):
            fill = "#eee" if value is None else f"hsl(215 60% {94 - 64 * value:.0f}%)"
            cells.append(
                f'<rect x="{_LEFT + x * _CELL}" y="{y * _CELL}" width="{_CELL - 1}" height="{_CELL - 1}" fill="{fill}">'
                f"<title>{escape(site)}, step {x + 1}: density {_figure(value)}</title></rect>"
            )
    width, height = _LEFT + _CELL * max(map(len, density)), _CELL * len(sites)
    return f'<svg viewBox="0 0 {width} {height}" width="{width}">{"".join(cells)}</svg>'


def _curves(report: dict[str, Any]) -> str:
    """Promised, measured, and what it is at least; exact where a full audit ran."""
    lines = {name: _by_step(report[name]) for name in ("recall", "bound", "exact")}
    known = [v for line in lines.values() for v in line if v is not None]
    if not known:
        return '<p class="note">No recall was measured.</p>'
    floor = min([*known, *report["promised"].values()]) - 0.01
    steps = max(report["steps"] - 1, 1)

    def point(step: int, value: float) -> str:
        return f"{40 + step / steps * (_WIDTH - 50):.1f},{10 + (1 - value) / (1 - floor) * (_HEIGHT - 30):.1f}"

    colours = {"recall": "#2667c9", "bound": "#9bb8e6", "exact": "#1b8a4b"}
    drawn = [
        f'<text x="0" y="14">1</text><text x="0" y="{_HEIGHT - 18}">{floor:.2f}</text>',
        f'<text x="40" y="{_HEIGHT - 2}">step 1 to {report["steps"]}</text>',
    ]
    if (recall := report["promised"].get("recall")) is not None:
        drawn.append(
            f'<polyline points="{point(0, recall)} {point(steps, recall)}" fill="none" stroke="#c33" stroke-dasharray="5 4"/>'
        )
    for name, line in lines.items():
        points = [point(step, value) for step, value in enumerate(line) if value is not None]
        if points:
            style = f'fill="none" stroke="{colours[name]}" stroke-width="2"'
            drawn.append(f'<polyline points="{" ".join(points)}" {style}><title>{name}</title></polyline>')
        for x, y in (p.split(",") for p in points):
            drawn.append(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colours[name]}"/>')
    legend = "red: promised; blue: measured on random rows; pale: at least this, 99 % sure a call; green: against full dense attention"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">{"".join(drawn)}</svg><p class="note">{legend}</p>'


def _by_step(table: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The least value of each step over all layers."""
    return [min((v for v in column if v is not None), default=None) for column in zip(*table, strict=True)]


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"
