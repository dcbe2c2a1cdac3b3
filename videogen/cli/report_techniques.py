"""The parts of `--report` on step caching and on motion control."""

from __future__ import annotations

from collections.abc import Sequence

from .report_html import figure, note, table
from .types import Json

_WIDTH, _HEIGHT, _LEFT = 560, 160, 40
_CALIBRATED = {None: "not needed: the key steps were given", True: "yes", False: "no: a more cautious factor was used"}
_WITHIN = {None: "no target was given", True: "yes", False: "NO: the estimate is above it"}
_BARS_LEGEND = (
    "one bar per key step: the error that propagation would have made there, relative to the clean latents, after "
    "guidance; black line: the predicted error; red: the key steps"
)
_SIDE = 320
_MOTION = {
    "error_px": "flow error where the motion is controlled (px/frame)",
    "floor_px": "error of the measurement itself (px/frame)",
    "background_px": "motion of the background (px/frame)",
    "track_px": "distance from the target paths (px)",
    "final_px": "distance at the last frame (px)",
    "dynamic_px": "motion of the entire image (px/frame)",
}


def propagation_section(report: Json) -> list[str]:
    """HTML of a manifest's `measured.propagation`; a cache of diffusers has a table only."""
    if "segments" in report and "evaluated" in report:  # of a long video
        rows = {"target": _target(report), "full evaluations": report["evaluated"]}
        rows |= {"largest estimated error of a segment": figure(report["estimated_error"])}
        rows |= {"within the target": _WITHIN[report["within_promise"]], "segments": str(report["segments"])}
        return ["<h2>Propagation</h2>", table(rows.items())]
    if "keys" not in report:
        return ["<h2>Propagation (a cache of diffusers)</h2>", table(report.items())]
    seconds = report["seconds"]
    rows = {
        "target": _target(report),
        "full evaluations": f"{len(report['keys'])} of {report['steps']} steps",
        "cut": ", ".join(report["boundary"]),
        "estimated error of the final latents": figure(report["estimated_error"]),
        "within the target": _WITHIN[report["within_promise"]],
        "calibrated for this model, solver and length": _CALIBRATED[report["calibrated"]],
        "seconds in key steps, between them, saved": ", ".join(
            f"{seconds[part]:.2f}" for part in ("key", "propagated", "saved")
        ),
        "cached features": f"{report['kept_bytes'] / 2**20:.1f} MiB",
        "rolled back": ", ".join(f"from step {a} to {b}" for a, b in report["rolled_back"]) or "never",
    }
    rows |= {f"forced key step {step}": reason for step, reason in report["forced"].items()}
    drift = ["<h2>Key steps and their measured drift</h2>", _drift_bars(report), note(_BARS_LEGEND)]
    return ["<h2>Propagation</h2>", table(rows.items()), *drift]


def _target(report: Json) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in report["promised"].items() if name in ("max_error", "keys", "boundary")
    )


def _drift_bars(report: Json) -> str:
    steps = max(report["steps"], 1)
    drift = {int(step): value for step, value in report["drift"].items() if value is not None}
    predicted = {int(step): value for step, value in report["predicted_drift"].items() if value is not None}
    top = max([*drift.values(), *predicted.values()], default=1.0) or 1.0
    width = (_WIDTH - _LEFT) / steps
    shapes = [f'<text x="0" y="12">{top:.3g}</text><text x="0" y="{_HEIGHT - 12}">0</text>']
    for step in report["keys"]:
        x, tall = _LEFT + step * width, (_HEIGHT - 30) * drift.get(step, 0.0) / top
        title = f"<title>step {step}: {figure(drift.get(step))}, predicted {figure(predicted.get(step))}</title>"
        box = f'x="{x:.1f}" width="{max(1.0, width - 1):.1f}"'
        shapes.append(f'<rect {box} y="{_HEIGHT - 12 - tall:.1f}" height="{tall:.1f}" fill="#468">{title}</rect>')
        if step in predicted:
            y = _HEIGHT - 12 - (_HEIGHT - 30) * predicted[step] / top
            shapes.append(f'<rect {box} y="{y:.1f}" height="2" fill="#000"/>')
        shapes.append(f'<rect {box} y="{_HEIGHT - 10}" height="6" fill="#c44">{title}</rect>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">{"".join(shapes)}</svg>'


def motion_section(report: Json, request: Json) -> list[str]:
    """HTML of a manifest's `measured.motion`: target and measured motion, and both paths drawn over each other."""
    rows = [("backend", str(request["motion_backend"])), ("strength", f"{report['strength']:g}")]
    rows += [(description, f"{report[key]:g}") for key, description in _MOTION.items() if key in report]
    if "camera" in report:
        rows.append(("camera, measured", ", ".join(f"{name} {value:g}" for name, value in report["camera"].items())))
    parts = ["<h2>Motion</h2>", table(rows)]
    tracks = report.get("tracks")
    if tracks:
        parts.append(_paths(tracks["planned"], tracks["measured"], request["width"], request["height"]))
    return parts


_Paths = Sequence[Sequence[tuple[float, float]]]


def _paths(target: _Paths, measured: _Paths, width: int, height: int) -> str:
    """Target paths dashed, measured ones solid, a dot where each begins."""
    stroke = max(width, height) / _SIDE
    lines = []
    for paths, style in ((target, f'stroke="#888" stroke-dasharray="{3 * stroke:.2f}"'), (measured, 'stroke="#c33"')):
        for path in paths:
            points = " ".join(f"{x:g},{y:g}" for x, y in path)
            lines.append(f'<polyline points="{points}" fill="none" stroke-width="{1.5 * stroke:.2f}" {style}/>')
    dots = [
        f'<circle cx="{path[0][0]:g}" cy="{path[0][1]:g}" r="{2.5 * stroke:.2f}" fill="#888"/>'
        for path in target
        if path
    ]
    frame = f'<rect width="{width}" height="{height}" fill="#f7f7f7" stroke="#ccc" stroke-width="{stroke:.2f}"/>'
    box = f'viewBox="0 0 {width} {height}" width="{_SIDE}"'
    return f"{note('Paths: target (dashed) and measured.')}<svg {box}>{frame}{''.join(lines + dots)}</svg>"
