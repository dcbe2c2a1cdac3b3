"""Propagation and sparse attention, each alone and both, on one long clip."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tools.bench.files import show_progress
from tools.bench.propagation.renders import render
from videogen import Engine
from videogen.metrics.fidelity import psnr_db

PROMPT = "a red ball moves right on a black background"
TECHNIQUES: dict[str, dict[str, Any]] = {
    "propagation": {"propagate": "max_error:0.02"},
    "sparse attention": {"attention": "adaptive"},
    "both": {"propagate": "max_error:0.02", "attention": "adaptive"},
}


def measure_together(options: argparse.Namespace, report: Path) -> dict[str, Any]:
    """Speedup of the denoising and PSNR against the plain render."""
    engine = Engine.load(options.model, device=options.device)
    clip: dict[str, Any] = {"frames": options.frames, "size": (options.side, options.side), "steps": options.steps}
    clip |= {"continuity": "off"}
    plain, _, plain_s = render(engine, PROMPT, 1, **clip)
    rows = {}
    for name, techniques in TECHNIQUES.items():
        video, _, denoise_s = render(engine, PROMPT, 1, **clip, **techniques)
        rows[name] = {
            "speedup": round(plain_s / denoise_s, 3),
            "psnr_db": round(min(99.0, psnr_db(video.frames, plain.frames)), 2),
        }
        show_progress({name: rows[name]})
    return {"clip": {**clip, "prompt": PROMPT}, "denoise_s": round(plain_s, 2), "rows": rows}
