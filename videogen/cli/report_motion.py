"""The motion part of `--report`: what was asked, what was measured, and both paths drawn over each other."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_SIDE = 320
_ABOUT = {
    "error_px": "flow error where the motion tells (px a frame)",
    "floor_px": "of it, the measuring's own",
    "background_px": "motion of what should rest (px a frame)",
    "track_px": "distance from the asked paths (px)",
    "final_px": "at the last frame (px)",
    "dynamic_px": "motion of the whole picture (px a frame)",
}


def motion_section(report: dict[str, Any], request: dict[str, Any]) -> list[str]:
    """Segments of HTML from what was measured, and the request."""
    rows = [("backend", str(request["motion_backend"])), ("strength", f"{report['strength']:g}")]
    rows += [(about, f"{report[key]:g}") for key, about in _ABOUT.items() if key in report]
    if "camera" in report:
        rows.append(("camera, measured", ", ".join(f"{name} {value:g}" for name, value in report["camera"].items())))
    table = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    parts = ["<h2>Motion</h2>", f"<table>{table}</table>"]
    tracks = report.get("tracks")
    if not tracks:
        return parts
    return [*parts, _paths(tracks["planned"], tracks["measured"], request["width"], request["height"])]


def _paths(planned: Sequence[Any], measured: Sequence[Any], width: int, height: int) -> str:
    """Asked paths dashed, measured ones solid, a dot where each begins."""
    stroke = max(width, height) / _SIDE
    lines = []
    for tracks, style in ((planned, f'stroke="#888" stroke-dasharray="{3 * stroke:.2f}"'), (measured, 'stroke="#c33"')):
        for track in tracks:
            points = " ".join(f"{x:g},{y:g}" for x, y in track)
            lines.append(f'<polyline points="{points}" fill="none" stroke-width="{1.5 * stroke:.2f}" {style}/>')
    dots = [f'<circle cx="{t[0][0]:g}" cy="{t[0][1]:g}" r="{2.5 * stroke:.2f}" fill="#888"/>' for t in planned if t]
    frame = f'<rect width="{width}" height="{height}" fill="#f7f7f7" stroke="#ccc" stroke-width="{stroke:.2f}"/>'
    box = f'viewBox="0 0 {width} {height}" width="{_SIDE}"'
    return f'<p class="note">Paths: asked (dashed) and measured.</p><svg {box}>{frame}{"".join(lines + dots)}</svg>'
