"""The part of `--report` that draws which steps were evaluated whole and what that cost in error."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _LEFT = 560, 160, 40
_CALIBRATED = {None: "not needed: the key steps were given", True: "yes", False: "no: a more cautious factor was used"}


def propagation_section(report: Mapping[str, Any]) -> list[str]:
    """HTML of a manifest's `measured.propagation`; one of diffusers' caches has a table only."""
    if "keys" not in report:
        return ["<h2>Propagation (a cache of diffusers)</h2>", _table(report)]
    promised = ", ".join(
        f"{name} {value}" for name, value in report["promised"].items() if name in ("max_error", "keys", "boundary")
    )
    seconds = report["seconds"]
    rows = {
        "promised": promised,
        "evaluated whole": f"{len(report['keys'])} of {report['steps']} steps",
        "boundary": ", ".join(report["boundary"]),
        "estimated error of the final latents": _figure(report["estimated_error"]),
        "within the promise": {None: "none was given", True: "yes", False: "NO: the estimate is above it"}[
            report["within_promise"]
        ],
        "calibrated for this model, solver and length": _CALIBRATED[report["calibrated"]],
        "seconds in key steps, between them, saved": f"{seconds['key']:.2f}, {seconds['propagated']:.2f}, {seconds['saved']:.2f}",
        "kept features": f"{report['kept_bytes'] / 2**20:.1f} MiB",
        "taken back": ", ".join(f"from step {a} to {b}" for a, b in report["rolled_back"]) or "nothing",
    }
    rows |= {f"forced key {step}": why for step, why in report["forced"].items()}
    legend = (
        "a bar a key step: by how much propagation would have been wrong there, relative to the clean latents, after guidance; a "
        "tick: what was predicted for it; red below: the key steps"
    )
    drawn = [_bars(report), f'<p class="note">{legend}</p>']
    return ["<h2>Propagation</h2>", _table(rows), "<h2>Key steps and their measured drift</h2>", *drawn]


def _bars(report: Mapping[str, Any]) -> str:
    steps = max(report["steps"], 1)
    drift = {int(step): value for step, value in report["drift"].items() if value is not None}
    guessed = {int(step): value for step, value in report["predicted_drift"].items() if value is not None}
    top = max([*drift.values(), *guessed.values()], default=1.0) or 1.0
    wide = (_WIDTH - _LEFT) / steps
    drawn = [f'<text x="0" y="12">{top:.3g}</text><text x="0" y="{_HEIGHT - 12}">0</text>']
    for key in report["keys"]:
        x, tall = _LEFT + key * wide, (_HEIGHT - 30) * drift.get(key, 0.0) / top
        title = f"<title>step {key}: {_figure(drift.get(key))}, predicted {_figure(guessed.get(key))}</title>"
        where = f'x="{x:.1f}" width="{max(1.0, wide - 1):.1f}"'
        drawn.append(f'<rect {where} y="{_HEIGHT - 12 - tall:.1f}" height="{tall:.1f}" fill="#468">{title}</rect>')
        if key in guessed:
            at = _HEIGHT - 12 - (_HEIGHT - 30) * guessed[key] / top
            drawn.append(f'<rect {where} y="{at:.1f}" height="2" fill="#000"/>')
        drawn.append(f'<rect {where} y="{_HEIGHT - 10}" height="6" fill="#c44">{title}</rect>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">{"".join(drawn)}</svg>'


def _table(rows: Mapping[str, Any]) -> str:
    return (
        "<table>"
        + "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items())
        + "</table>"
    )


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"
