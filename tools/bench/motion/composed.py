"""Drags under a moving camera: how near the object comes to its path on the screen, and whether it stays complete."""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

import numpy as np

from tools.bench.files import show_progress
from tools.bench.motion.control import FRAME_PX
from tools.judge import judge, object_tracks
from videogen import Engine
from videogen.motion import Camera, Drag, MotionPlan, compile_motion

#: (prompt, start and end of the path, camera); each is rendered with two seeds
CASES: tuple[tuple[str, tuple[float, float, float, float], dict[str, Any]], ...] = (
    ("a red ball on a black background", (12, 32, 50, 40), {"zoom": 1.2}),
    ("a red ball on a gray background", (20, 44, 44, 22), {"pan": 8}),
    ("a blue square on a black background", (44, 20, 20, 40), {"zoom": 0.8}),
    ("a yellow star on a noisy background", (16, 20, 48, 36), {"pan": -6, "tilt": 4}),
    ("a green triangle on a striped background", (32, 46, 32, 18), {"zoom": 1.25}),
    ("a white ball on a blue background", (48, 32, 18, 32), {"tilt": -8}),
    ("a red square on a white background", (18, 18, 42, 42), {"roll": 20}),
    ("a blue ball on a striped background", (40, 44, 22, 24), {"pan": 6, "zoom": 1.15}),
)
SEEDS = (0, 8)


def measure_composed(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Per prompt and seed: distance of the object from its path on the screen, mean and at the last frame, in px, and
    the overlap of its outline with that of the best shape."""
    pairs = list(product(SEEDS, enumerate(CASES)))[: options.prompts]
    rows = []
    for seed, (index, (prompt, path, camera)) in pairs:
        motion = Drag(path=(path[:2], path[2:])) + Camera(**camera)
        video = engine.generate(prompt, seed=seed + index, steps=options.steps, motion=motion)
        row = place_of(video.frames, compile_motion(motion, len(video), FRAME_PX, FRAME_PX))
        assert video.manifest is not None
        measured = video.manifest["measured"]["motion"]
        rows.append({"prompt": prompt, "seed": seed + index, **row, "measured_px": measured.get("track_px")})
        show_progress(rows[-1])
    visible = [row for row in rows if "place_px" in row]
    medians = {name: _median(visible, name) for name in ("place_px", "final_px", "overlap")} if visible else {}
    return {"frame_px": FRAME_PX, "clips": len(rows), "visible": len(visible), "medians": medians, "rows": rows}


def place_of(frames: np.ndarray, plan: MotionPlan) -> dict[str, float]:
    """Distance of the judge's object from the plan's track, and how complete it is; empty where none is visible."""
    found = object_tracks(frames)
    if found is None:
        return {}
    away = np.linalg.norm(found.centres - plan.tracks()[0], axis=1)
    overlap = judge(frames).measured["overlap"]
    return {
        "place_px": round(float(away.mean()), 2),
        "final_px": round(float(away[-1]), 2),
        "overlap": round(overlap, 3),
    }


def _median(rows: list[dict[str, Any]], name: str) -> float:
    return round(float(np.median([row[name] for row in rows])), 2)
