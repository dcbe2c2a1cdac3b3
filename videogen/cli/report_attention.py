"""The part of `--report` on sparse attention: density by layer and step, recall by step."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .report_html import figure, note, table
from .types import Json

_CELL, _LEFT, _WIDTH, _HEIGHT = 18, 190, 560, 200
_COLOURS = {"recall": "#2667c9", "bound": "#9bb8e6", "exact": "#1b8a4b"}
_LEGEND = (
    "red: target; blue: measured on sampled query rows; pale: lower bound at 99 % confidence per call; green: against "
    "dense attention"
)


def attention_section(report: Json) -> list[str]:
    """HTML of a manifest's `measured.attention`."""
    targets = ", ".join(f"{name} {value:g}" for name, value in report["promised"].items())
    parts = [
        "<h2>Attention</h2>",
        table([
            ("target", targets), ("least recall measured", figure(report["least_recall"])),
            ("mean density", figure(report["mean_density"])),
            ("tokens", f"{report['tokens']:,}") if "tokens" in report else ("segments", str(report["segments"])),
        ]),
    ]  # fmt: skip
    if "segments" in report:  # of a long video: its segments are listed with their own figures
        return parts
    if report["layers"]:
        parts += ["<h2>Density by layer and step</h2>", _heat_map(report["layers"], report["density"])]
        parts += ["<h2>Recall by step (the worst head of all layers)</h2>", _curves(report)]
    if report["dense"]:
        rows = ((reason, f"{count} calls") for reason, count in report["dense"].items())
        parts += ["<h2>Calls that ran dense</h2>", table(rows)]
    if report["untouched"]:
        parts += ["<h2>Layers without sparse attention</h2>", table(report["untouched"].items())]
    return parts


def _heat_map(layers: Sequence[str], density: Sequence[Sequence[float | None]]) -> str:
    """One cell per layer and step: the darker, the more was computed."""
    cells = []
    for y, (layer, row) in enumerate(zip(layers, density, strict=True)):
        cells.append(f'<text x="0" y="{y * _CELL + 13}">{escape(layer[-30:])}</text>')
        for x, value in enumerate(row):
            fill = "#eee" if value is None else f"hsl(215 60% {94 - 64 * value:.0f}%)"
            cells.append(
                f'<rect x="{_LEFT + x * _CELL}" y="{y * _CELL}" width="{_CELL - 1}" height="{_CELL - 1}" fill="{fill}">'
                f"<title>{escape(layer)}, step {x + 1}: density {figure(value)}</title></rect>"
            )
    width, height = _LEFT + _CELL * max(map(len, density)), _CELL * len(layers)
    return f'<svg viewBox="0 0 {width} {height}" width="{width}">{"".join(cells)}</svg>'


def _curves(report: Json) -> str:
    """Target, measured recall and its lower bound; exact recall where a full audit ran."""
    lines = {name: _least_by_step(report[name]) for name in _COLOURS}
    known = [value for line in lines.values() for value in line if value is not None]
    if not known:
        return note("No recall was measured.")
    floor = min([*known, *report["promised"].values()]) - 0.01
    steps = max(report["steps"] - 1, 1)

    def point(step: int, value: float) -> str:
        return f"{40 + step / steps * (_WIDTH - 50):.1f},{10 + (1 - value) / (1 - floor) * (_HEIGHT - 30):.1f}"

    shapes = [
        f'<text x="0" y="14">1</text><text x="0" y="{_HEIGHT - 18}">{floor:.2f}</text>',
        f'<text x="40" y="{_HEIGHT - 2}">step 1 to {report["steps"]}</text>',
    ]
    if (recall := report["promised"].get("recall")) is not None:
        ends = f"{point(0, recall)} {point(steps, recall)}"
        shapes.append(f'<polyline points="{ends}" fill="none" stroke="#c33" stroke-dasharray="5 4"/>')
    for name, line in lines.items():
        points = [point(step, value) for step, value in enumerate(line) if value is not None]
        if points:
            style = f'fill="none" stroke="{_COLOURS[name]}" stroke-width="2"'
            shapes.append(f'<polyline points="{" ".join(points)}" {style}><title>{name}</title></polyline>')
        for x, y in (p.split(",") for p in points):
            shapes.append(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{_COLOURS[name]}"/>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">{"".join(shapes)}</svg>{note(_LEGEND)}'


def _least_by_step(rows: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The least value of each step over all layers."""
    return [min((value for value in column if value is not None), default=None) for column in zip(*rows, strict=True)]
