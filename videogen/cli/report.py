"""`--report`: one self-contained page that plots each technique's target and the measured value, from the manifest."""

from __future__ import annotations

from html import escape

from .report_attention import attention_section
from .report_html import table
from .report_long import long_section
from .report_techniques import motion_section, propagation_section
from .types import Json

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}table{border-collapse:collapse}
td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}svg{max-width:100%;height:auto}
text{font:11px system-ui,sans-serif;fill:#444}.note{color:#666}
"""
_WIDTH = 560
_REQUEST = (
    "model", "frames", "width", "height", "steps", "guidance_scale", "seed", "solver", "attention", "recall",
    "propagate", "dtype", "device",
)  # fmt: skip


def build_page(manifest: Json) -> str:
    """The page's HTML."""
    request, measured = manifest["request"], manifest.get("measured", {})
    parts = [
        f"<h1>{escape(_title(request))}</h1>",
        table((key.replace("_", " "), request[key]) for key in _REQUEST if request.get(key) is not None),
        _stages(manifest.get("timings_s", {})),
    ]
    if measured.get("long"):
        parts += long_section(measured["long"], request)
    if measured.get("no_effect"):
        parts += ["<h2>No effect</h2>", table(measured["no_effect"].items())]
    if measured.get("attention"):
        parts += attention_section(measured["attention"])
    elif request.get("attention", "dense") == "dense":  # a long video's sparse attention is reported by segment
        parts += ["<h2>Attention</h2><p>Dense: nothing was left out.</p>"]
    if measured.get("propagation"):
        parts += propagation_section(measured["propagation"])
    if measured.get("motion"):
        parts += motion_section(measured["motion"], request)
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>videogen report</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en">{head}{body}</html>\n'


def _title(request: Json) -> str:
    """The prompt, or the first one of a story and how many shots there are."""
    shots = (request.get("story") or {}).get("shots", ())
    return f"{request['prompt']} ({len(shots)} shots)" if len(shots) > 1 else str(request["prompt"])


def _stages(timings_s: dict[str, float]) -> str:
    """One bar, with a part for each stage."""
    total = sum(timings_s.values())
    if total <= 0:
        return ""
    parts, left = [], 0.0
    for index, (name, seconds) in enumerate(timings_s.items()):
        width = _WIDTH * seconds / total
        box = f'x="{left:.1f}" width="{width:.1f}" height="22" fill="hsl({200 + 60 * index} 55% 60%)"'
        parts.append(f"<rect {box}><title>{escape(name)}: {seconds:.2f} s</title></rect>")
        if width > 70:
            parts.append(f'<text x="{left + 4:.1f}" y="15">{escape(name)} {seconds:.2f} s</text>')
        left += width
    return f'<h2>Seconds by stage</h2><svg viewBox="0 0 {_WIDTH} 22" width="{_WIDTH}">{"".join(parts)}</svg>'
