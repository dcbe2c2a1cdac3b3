"""Presets at the models' default settings: speed and fidelity, next to key steps and fewer steps.

Held-out prompts; the plain render and every other method with the same seeds, alternating: speedup of the denoising
(median of the paired ratios), PSNR against the plain frames, and the judge's accuracy. Writes
benchmarks/presets-MODEL.json.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.files import BENCHMARKS, ResumableRows, changed_options, show_progress, write_report
from tools.judge import judge
from tools.world import Scene, caption, held_out
from videogen import Engine, RenderRequest, Video
from videogen.configs import load_preset, presets
from videogen.metrics.fidelity import psnr_db

ATTRIBUTES = ("colour", "shape", "motion")
#: What presets are compared with: fields of a request.
RIVALS: dict[str, dict[str, Any]] = {
    "every:2": {"propagate": "every:2"},
    **{f"{steps} steps": {"steps": steps} for steps in (8, 10, 14)},
}
DEFAULTS = {"prompts": 16}


def methods() -> dict[str, dict[str, Any]]:
    """Name -> fields of a request: the plain render, the presets, and what they are compared with."""
    return {"plain": {}, **{f"preset {name}": load_preset(name) for name in presets()}, **RIVALS}


def measure(model: str, prompts: int, report: Path) -> dict[str, Any]:
    engine = Engine.load(model, device="cpu")
    scenes, compared = held_out()[:prompts], methods()
    stored = ResumableRows(report, {"hash": engine.backbone.digest, "methods": compared})
    for index, scene in list(enumerate(scenes))[len(stored.rows) :]:
        stored.add(_compare(engine, scene, index, compared))
        show_progress({"done": index + 1})
    rows = stored.rows[: len(scenes)]
    return {
        "clips": len(rows),
        "steps": engine.backbone.defaults.steps,
        "methods": {name: _summary([row[name] for row in rows]) for name in compared},
    }


def _compare(engine: Engine, scene: Scene, seed: int, compared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Figures of each method for one prompt and seed."""
    found: dict[str, Any] = {}
    for name, options in compared.items():
        video = engine.render(RenderRequest(caption(scene), seed=seed, **options))
        assert video.manifest is not None
        seconds = video.manifest["timings_s"]["denoise"]
        if not found:
            plain, plain_s = video, seconds
        found[name] = _figures(video, plain, scene) | {"speedup": plain_s / seconds}
    return found


def _figures(video: Video, plain: Video, scene: Scene) -> dict[str, Any]:
    assert video.manifest is not None
    verdict = judge(video.frames, stride=16 / float(video.fps))
    key_steps = video.manifest["measured"].get("propagation", {}).get("keys", video.manifest["plan"])
    return {
        "psnr": min(99.0, psnr_db(video.frames, plain.frames)),
        "evaluations": len(key_steps),
        "accuracy": [getattr(verdict, name) == getattr(scene.things[0], name) for name in ATTRIBUTES],
    }


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    values = {name: [row[name] for row in rows] for name in rows[0]}
    accuracy = np.asarray(values["accuracy"]).mean(0)
    return {
        "evaluations": round(float(np.mean(values["evaluations"])), 1),
        "speedup": round(statistics.median(values["speedup"]), 2),
        "psnr_db": round(float(np.mean(values["psnr"])), 1),
        "least_psnr_db": round(min(values["psnr"]), 1),
        "accuracy": {name: round(float(value), 3) for name, value in zip(ATTRIBUTES, accuracy, strict=True)},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="embedded", help="name or folder")
    parser.add_argument("--prompts", type=int, default=DEFAULTS["prompts"], help="held-out prompts")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    label = Path(options.model).name
    path = options.out / f"presets-{label}.json"
    figures = measure(options.model, options.prompts, path)
    command = f"presets {label}{changed_options(options, DEFAULTS, ['prompts'])}"
    write_report(path, command, figures, device="cpu", model=options.model)
    return 0
