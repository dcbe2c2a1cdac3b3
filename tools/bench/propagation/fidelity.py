"""Fidelity of propagation and of other methods to the plain render."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.files import ResumableRows, show_progress
from tools.bench.propagation import renders
from tools.bench.propagation.rivals import magcache_rivals, rivals
from tools.judge import judge
from tools.world import caption, held_out
from videogen import Engine, InputError, UnsupportedError
from videogen.metrics.fidelity import psnr_db, ssim

ATTRIBUTES = ("colour", "shape", "motion")


def measure_fidelity(options: argparse.Namespace, report: Path) -> dict[str, Any]:
    engine = Engine.load(options.model, device=options.device)
    methods = [*rivals(options.model)]
    if engine.backbone.native_guidance == "sequential":
        methods += magcache_rivals(engine)
    scenes = held_out()[: options.prompts]
    subject = {
        "part": "fidelity",
        "hash": engine.backbone.digest,
        "rivals": [r.name for r in methods],
        "steps": renders.STEPS,
    }
    stored = ResumableRows(report, subject)
    refused: dict[str, str] = {}
    for index, scene in list(enumerate(scenes))[len(stored.rows) :]:
        plain, _, plain_s = renders.render(engine, caption(scene), index)
        row = {"plain": _measured(plain, plain, 1.0, scene)}
        for rival in methods:
            if rival.name in refused:
                continue
            try:
                video, _, denoise_s = renders.render(engine, caption(scene), index, **rival.options)
            except (InputError, UnsupportedError) as error:
                refused[rival.name] = str(error)
                continue
            row[rival.name] = _measured(video, plain, plain_s / denoise_s, scene)
        stored.add({"found": row, "refused": refused})
        show_progress({"done": index + 1})
    rows = stored.rows[: len(scenes)]
    summaries = {name: _summary([row["found"][name] for row in rows]) for name in rows[0]["found"]}
    return {"clips": len(scenes), "steps": renders.STEPS, "rivals": summaries, "refused": rows[0]["refused"]}


def _measured(video: Any, plain: Any, ratio: float, scene: Any) -> dict[str, Any]:
    """Figures of one render. ratio: the plain render's seconds over this one's."""
    verdict = judge(video.frames, stride=16 / float(video.fps))
    thing = scene.things[0]
    return {
        "speedup": ratio,
        "psnr": min(99.0, psnr_db(video.frames, plain.frames)),
        "ssim": ssim(video.frames, plain.frames),
        "key_steps": len(video.manifest["measured"].get("propagation", {}).get("keys", video.manifest["plan"])),
        "accuracy": [getattr(verdict, name) == getattr(thing, name) for name in ATTRIBUTES],
    }


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    values = {name: [row[name] for row in rows] for name in rows[0]}
    accuracy = np.asarray(values["accuracy"]).mean(0)
    return {
        "speedup": round(statistics.median(values["speedup"]), 3),
        "psnr_db": round(float(np.mean(values["psnr"])), 2),
        "psnr_5_percent_db": round(float(np.quantile(values["psnr"], 0.05)), 2),
        "ssim": round(float(np.mean(values["ssim"])), 4),
        "key_steps": round(float(np.mean(values["key_steps"])), 1),
        "accuracy": {name: round(float(value), 3) for name, value in zip(ATTRIBUTES, accuracy, strict=True)},
    }
