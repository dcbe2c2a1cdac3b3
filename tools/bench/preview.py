"""Latent previews: mean error on held-out clips, cost of one against a denoising step, and of the fit.

The clips are encoded by each embedded model's VAE and previewed; the error is the mean absolute difference from the
frames, averaged to latent resolution, in levels of 255. Then clips are rendered, and the previews of some steps are
compared with the finished frames in the same way. Writes benchmarks/preview.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.bench.environment import machine
from tools.bench.files import BENCHMARKS, write_report
from tools.world import caption, held_out, render
from videogen import Engine, Progress
from videogen.backbones.base import Backbone
from videogen.backbones.preview import LatentPreview
from videogen.core.frame_latent_map import FrameLatentMap

MODELS = ("embedded", "embedded-unet")
TARGETS = {"mean_error": 12.0, "fraction_of_a_step": 0.05}
_LATENTS = 3
_FRACTIONS = (0.25, 0.5, 0.75, 1)


def preview_errors(backbone: Backbone, preview: LatentPreview, clips: int) -> list[float]:
    """Mean absolute error of each of the first held-out clips, in levels of 255."""
    latent_map = FrameLatentMap.from_geometry(backbone.geometry)
    errors = []
    for scene in held_out()[:clips]:
        frames = render(scene).frames[: latent_map.frame_count(_LATENTS)]
        with torch.inference_mode():
            errors.append(_error(preview(backbone.encode(torch.from_numpy(frames)[None])), frames, latent_map))
    return errors


def _error(images: np.ndarray, frames: np.ndarray, latent_map: FrameLatentMap) -> float:
    """Mean absolute difference of previews [f, h, w, 3] from frames, averaged to their resolution."""
    spans = [latent_map.frames_of(latent) for latent in range(len(images))]
    means = np.stack([frames[span.start : span.stop].mean(0) for span in spans])
    height, width = images.shape[1:3]
    cells = means.reshape(len(images), height, means.shape[1] // height, width, means.shape[2] // width, 3)
    return float(np.abs(images - cells.mean((2, 4))).mean())


def errors_of_runs(engine: Engine, clips: int) -> dict[str, float]:
    """Step of a render, as a fraction of its steps -> mean error of its preview against the finished frames."""
    latent_map, found = FrameLatentMap.from_geometry(engine.backbone.geometry), defaultdict(list)
    for seed, scene in enumerate(held_out()[:clips]):
        previewed: dict[int, np.ndarray] = {}

        def note(progress: Progress, previewed: dict[int, np.ndarray] = previewed) -> None:
            if progress.preview is not None:
                previewed[progress.step] = progress.preview

        video = engine.generate(caption(scene), seed=seed, progress=note, preview_every=1)
        for fraction in _FRACTIONS:
            images = previewed[round(fraction * max(previewed))]
            found[f"{fraction:g}"].append(_error(images, video.frames, latent_map))
    return {fraction: round(statistics.mean(errors), 2) for fraction, errors in found.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=24, help="held-out clips per model")
    parser.add_argument("--runs", type=int, default=6, help="renders per model whose previews are compared")
    parser.add_argument("--repeats", type=int, default=20, help="previews that are timed; their median counts")
    parser.add_argument("--out", type=Path, default=BENCHMARKS, help="folder of the report")


def run(options: argparse.Namespace) -> int:
    rows = {name: measure(name, options.clips, options.runs, options.repeats) for name in MODELS}
    for name, row in rows.items():
        print(name, row)
    report = {
        "machine": machine("cpu"),
        "clips": options.clips,
        "runs": options.runs,
        "targets": TARGETS,
        "models": rows,
    }
    write_report(options.out / "preview.json", "preview", report, device="cpu")
    return 0


def measure(name: str, clips: int, runs: int, repeats: int) -> dict[str, Any]:
    """One model's errors, and its seconds of a fit, a preview and a denoising step at the model's own size."""
    engine = Engine.load(name, device="cpu")
    started = time.perf_counter()
    preview = LatentPreview(engine.backbone)
    fit_s = time.perf_counter() - started
    errors = preview_errors(engine.backbone, preview, clips)
    step_s = _step_seconds(engine)
    defaults = engine.backbone.defaults
    shape = engine.backbone.geometry.shape(defaults.frames, defaults.height, defaults.width)
    preview_s = statistics.median(_timed(preview, torch.randn(shape)) for _ in range(repeats))
    return {
        "mean_error": round(statistics.mean(errors), 2), "worst_clip": round(max(errors), 2),
        "errors_of_runs": errors_of_runs(engine, runs),
        "fit_s": round(fit_s, 2), "preview_s": round(preview_s, 5), "step_s": round(step_s, 4),
        "fraction_of_a_step": round(preview_s / step_s, 4),
    }  # fmt: skip


def _step_seconds(engine: Engine) -> float:
    reports: list[Progress] = []
    engine.generate("a red ball moves right on a gray background", seed=1, steps=8, progress=reports.append)
    last = [report for report in reports if report.stage == "denoise"][-1]
    return last.elapsed_s / last.steps


def _timed(preview: LatentPreview, latents: torch.Tensor) -> float:
    started = time.perf_counter()
    preview(latents)
    return time.perf_counter() - started
