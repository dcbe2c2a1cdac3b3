"""Motion transferred from rendered clips and from a real video."""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from tools.bench.environment import ROOT
from tools.bench.files import show_progress
from tools.bench.motion.control import FRAME_PX
from tools.world import render, sample_scene
from videogen import Engine, Video
from videogen.metrics.motion_errors import end_point_error
from videogen.motion import Transfer, estimate

DRIVER = ROOT / "benchmarks" / "driving" / "cup.mp4"
STRENGTHS = (0.0, 0.5, 0.9)


def measure_transfer(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Flow of the result against that of the driving clip, where the clip moves; strength 0 is the baseline."""
    defaults = engine.backbone.defaults
    scenes = [sample_scene(seed, undescribed=True, cameras=0.3) for seed in range(8)]
    drivers = {f"world clip {scene.seed}": render(scene, defaults.frames, FRAME_PX).frames for scene in scenes}
    for path in options.video or [DRIVER]:
        drivers[path.stem] = fit_to_model(Video.open(path), defaults.frames, float(defaults.fps))
    rows = {}
    for name, frames in drivers.items():
        rows[name] = {f"strength {s:g}": _transfer(engine, frames, s, options.steps) for s in STRENGTHS}
        show_progress({name: rows[name]})
    return {"drivers": rows}


def _transfer(engine: Engine, frames: np.ndarray, strength: float, steps: int | None) -> dict[str, float]:
    prompt = "a white star on a noisy background"
    video = engine.generate(prompt, steps=steps, seed=5, motion=Transfer(frames), motion_strength=strength)
    flow, target = (np.stack([estimate(a, b, preset="fast") for a, b in pairwise(f)]) for f in (video.frames, frames))
    moving = np.linalg.norm(target, axis=1) > 0.2
    if not moving.any():
        moving[:] = True
    error = end_point_error(flow, target, moving)
    static = end_point_error(np.zeros_like(target), target, moving)
    return {"error_px": round(error.mean_px, 3), "static_error_px": round(static.mean_px, 3)}


def fit_to_model(video: Video, frames: int, fps: float) -> np.ndarray:
    """The centre square of a video's beginning, at the model's size and frame rate."""
    chosen = np.floor(np.arange(frames) * float(video.fps) / fps + 0.5).astype(int)
    if chosen[-1] >= len(video):
        raise SystemExit(
            f"the driving video has {len(video)} frames; {frames} frames at {fps:g} fps need {chosen[-1] + 1} of them"
        )
    clip = video.frames[chosen]
    side = min(clip.shape[1:3])
    top, left = (clip.shape[1] - side) // 2, (clip.shape[2] - side) // 2
    square = clip[:, top : top + side, left : left + side]
    size = (FRAME_PX, FRAME_PX)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in square])
