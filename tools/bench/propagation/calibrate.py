"""Calibration of propagation: how the final error relates to the controller's sum."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from tools.bench.environment import ROOT
from tools.bench.files import show_progress
from tools.bench.propagation import renders
from tools.bench.propagation.renders import relative_error
from tools.world import caption, sample_scene
from videogen import Engine, InputError

CALIBRATION = ROOT / "videogen" / "propagation" / "calibration.json"
BUDGETS = (0.04, 0.08, 0.2)


def write_calibration(label: str, options: argparse.Namespace) -> None:
    """Replace the model's row, for this solver and number of steps, in the package's calibration table."""
    store_calibration(options.boundary, label, measure_calibration(options))


def store_calibration(boundary: str, label: str, row: dict[str, Any]) -> None:
    """Put a row in the package's table, in place of one for the same solver and number of steps."""
    table = json.loads(CALIBRATION.read_text(encoding="utf-8")) if CALIBRATION.is_file() else {}
    rows = table.setdefault(boundary, {}).setdefault(label, [])
    rows[:] = [other for other in rows if any(other[name] != row[name] for name in ("solver", "steps"))] + [row]
    CALIBRATION.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(CALIBRATION)


def measure_calibration(options: argparse.Namespace) -> dict[str, Any]:
    """Ratio of the final error to the controller's sum: its conformal 90 % quantile over renders never used
    elsewhere."""
    engine = Engine.load(options.model, device=options.device)
    ratios: list[float] = []
    for index in range(options.renders):
        prompt, seed = caption(sample_scene(5_000_000 + index, pairs=0, cameras=0)), 9000 + index
        _, plain, _ = renders.render(engine, prompt, seed)
        for budget in BUDGETS:
            spec = {"max_error": budget, "boundary": options.boundary}
            video, latents, _ = renders.render(engine, prompt, seed, propagate=spec)
            measured = video.manifest["measured"]["propagation"]
            if measured["estimated_error"]:
                ratios.append(relative_error(latents, plain) / (measured["estimated_error"] / measured["factor"]))
        show_progress({"done": index + 1, "ratios": ratios[-3:]})
    return conformal_quantile(ratios) | {"solver": type(engine.backbone.scheduler).__name__, "steps": renders.STEPS}


def conformal_quantile(ratios: Sequence[float]) -> dict[str, Any]:
    """The factor that 90 % of renders stay within, how many were measured, and the median."""
    if not ratios:
        raise InputError("no step was propagated: there is nothing to calibrate on; use more steps")
    rank = min(len(ratios) - 1, int(np.ceil((len(ratios) + 1) * 0.9)) - 1)
    return {
        "factor": round(sorted(ratios)[rank], 4),
        "renders": len(ratios),
        "median": round(statistics.median(ratios), 4),
    }
