"""How soon a change of the prompt is visible in a story, and whether the rest stays."""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

import numpy as np

from tools.bench.files import show_progress
from tools.judge import judge
from videogen import Engine
from videogen.metrics.freeze import changes

STORY = (("red", "moves right"), ("blue", "moves right"), ("blue", "stays still"))


def measure_story(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """The colour changes, then the motion, at given seconds; background and shape should stay."""
    window, fps = engine.backbone.defaults.frames, engine.backbone.defaults.fps
    shot = 3 * window
    rows = []
    for seed, shape in enumerate(("ball", "square", "triangle", "ball")[: options.prompts]):
        prompts = {
            i * shot: f"a {colour} {shape} {motion} on a black background" for i, (colour, motion) in enumerate(STORY)
        }
        video = engine.generate(story=prompts, frames=len(STORY) * shot, seed=seed, steps=options.steps)
        rows.append(measure_delays(video.frames, shape, shot, window, fps))
        show_progress(rows[-1])
    return {
        "clips": len(rows),
        "window": window,
        "steps": options.steps,
        "stories": rows,
        "delay_frames": {name: float(median(row[f"{name}_delay"] for row in rows)) for name in ("colour", "motion")},
        "shape_accuracy": round(float(np.mean([row["shape_accuracy"] for row in rows])), 3),
    }


def measure_delays(frames: np.ndarray, shape: str, shot: int, window: int, fps: int) -> dict[str, Any]:
    """Frames from the requested second until colour and motion have changed; the fraction of stretches with the
    shape."""
    half = max(6, window // 4)
    colours = [judge(frames[at : at + half]).colour for at in range(shot, 2 * shot - half)]
    colour_delay = next((i for i, colour in enumerate(colours) if colour == STORY[1][0]), shot)
    moving = changes(frames)
    level = float(np.median(moving[shot : 2 * shot]))
    calm = [float(np.median(moving[at : at + half])) for at in range(2 * shot, 3 * shot - half)]
    motion_delay = next((i for i, value in enumerate(calm) if value < level / 2), shot)
    stretches = [
        judge(frames[at : at + window], stride=16 / fps).shape == shape
        for at in range(0, len(frames) - window + 1, window)
    ]
    return {"colour_delay": colour_delay, "motion_delay": motion_delay, "shape_accuracy": float(np.mean(stretches))}
