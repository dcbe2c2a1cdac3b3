"""How often propagation meets the error that it promises."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.files import ResumableRows, show_progress
from tools.bench.propagation import renders
from tools.bench.propagation.renders import relative_error
from tools.world import caption, held_out
from videogen import Engine

PROMISES = (0.01, 0.02, 0.05)


def measure_promise(options: argparse.Namespace, report: Path) -> dict[str, Any]:
    """Relative L2 error of the final latents at each max_error, over the held-out prompts."""
    engine = Engine.load(options.model, device=options.device)
    subject = {"part": "promise", "hash": engine.backbone.digest, "promises": PROMISES, "steps": renders.STEPS}
    stored = ResumableRows(report, subject)
    for index, scene in list(enumerate(held_out()[: options.renders]))[len(stored.rows) :]:
        prompt, seed = caption(scene), 500 + index
        _, plain, _ = renders.render(engine, prompt, seed)
        row = []
        for promised in PROMISES:
            video, latents, _ = renders.render(engine, prompt, seed, propagate=f"max_error:{promised}")
            keys = video.manifest["measured"]["propagation"]["keys"]
            row.append({"error": relative_error(latents, plain), "key_steps": len(keys)})
        stored.add(row)
        show_progress({"done": index + 1, "errors": [one["error"] for one in row]})
    rows = stored.rows[: options.renders]
    promises = {str(e): summarize(e, [row[i] for row in rows]) for i, e in enumerate(PROMISES)}
    return {"renders": len(rows), "steps": renders.STEPS, "promises": promises}


def summarize(promised: float, rows: list[dict[str, Any]]) -> dict[str, float]:
    """met: the fraction of renders within the promised error."""
    errors = [row["error"] for row in rows]
    return {
        "met": round(float(np.mean([error <= promised for error in errors])), 4),
        "median_error": round(statistics.median(errors), 5),
        "90_percent_error": round(float(np.quantile(errors, 0.9)), 5),
        "key_steps": round(float(np.mean([row["key_steps"] for row in rows])), 1),
    }
