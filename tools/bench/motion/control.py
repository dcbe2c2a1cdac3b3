"""Drags that the prompt does not describe, by each method of motion control."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

from tools.bench.files import show_progress
from tools.judge import object_tracks
from tools.world import Scene, caption, held_out, without_motion
from videogen import Engine, Video
from videogen.motion import Drag

Errors = dict[str, float] | None  # of one clip; None where no object is visible
FRAME_PX = 64
REACH_PX = (14.0, 50.0)  # where paths start and end


def measure_control(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Errors in px over the clips, per method."""
    steps, clips = options.steps or engine.backbone.defaults.steps, []
    for index, scene in enumerate(held_out()[: options.prompts]):
        clips.append(_drag_by_each_method(engine, scene, drag_of(index), index, steps, options))
        show_progress({"done": index + 1})
    methods = {name: summarize([clip[name] for clip in clips]) for name in clips[0]}
    return {"prompts": len(clips), "steps": steps, "frame_px": FRAME_PX, "methods": methods}


def _drag_by_each_method(
    engine: Engine, scene: Scene, drag: Drag, seed: int, steps: int, options: argparse.Namespace
) -> dict[str, Errors]:
    """One drag by every method, with the same seed."""
    (start, end), prompt = np.asarray(drag.path), caption(without_motion(scene))
    plain = engine.generate(prompt, seed=seed, steps=steps)
    rows: dict[str, Errors] = {
        "no control": errors(plain.frames, start, end),
        "motion in the prompt": _drag_by_prompt(engine, scene, drag, seed, steps),
    }
    for strength in options.strengths if options.warped or engine.backbone.training.warped_noise else ():
        video = engine.generate(
            prompt, seed=seed, steps=steps, motion=drag, motion_backend="warped_noise", motion_strength=strength
        )
        rows[f"warped noise at strength {strength:g}"] = errors(video.frames, start, end)
    for backend in options.dual_clock:
        for strength in options.strengths:
            name = f"{backend.replace('_', ' ')} at strength {strength:g}"
            rows[name] = _drag_by_dual_clock(engine, plain, drag, seed, backend, steps, strength)
    return rows


def drag_of(index: int) -> Drag:
    """A straight path of 10 to 36 px, of a disc as large as the world's objects."""
    rng = np.random.default_rng((index, 31))
    while True:
        start, end = rng.uniform(*REACH_PX, (2, 2))
        if 10 <= np.linalg.norm(end - start) <= 36:
            return Drag((float(start[0]), float(start[1]), 13.0), (_point(start), _point(end)))


def _point(xy: np.ndarray) -> tuple[float, float]:
    return float(xy[0]), float(xy[1])


def _drag_by_dual_clock(
    engine: Engine, plain: Video, drag: Drag, seed: int, backend: str, steps: int, strength: float
) -> Errors:
    """The plain render's object is dragged by the same displacement, less what would leave the frame."""
    found = object_tracks(plain.frames)
    if found is None:
        return None
    centre = found.centres[0]
    path_start, path_end = np.asarray(drag.path)
    end = np.clip(centre + path_end - path_start, REACH_PX[0] - 4, REACH_PX[1] + 4)
    motion = Drag(found.coverage[0] > 0.3, (_point(centre), _point(end)))
    assert plain.manifest is not None
    prompt = plain.manifest["request"]["prompt"]
    video = engine.generate(
        prompt, seed=seed, steps=steps, motion=motion, motion_backend=backend, motion_strength=strength
    )
    return errors(video.frames, centre, end)


def _drag_by_prompt(engine: Engine, scene: Scene, drag: Drag, seed: int, steps: int) -> Errors:
    """The nearest of the world's four directions in the prompt."""
    start, end = np.asarray(drag.path)
    dx, dy = end - start
    direction = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
    described = replace(scene, things=(replace(scene.things[0], motion=f"moves {direction}"),))
    return errors(engine.generate(caption(described), seed=seed, steps=steps).frames, start, end)


def errors(frames: np.ndarray, start: np.ndarray, end: np.ndarray) -> Errors:
    """px between the object's centre and the path: place (mean over frames) and final (the last frame); the same less
    the first frame's offset, which a model without a target position may choose: move (mean) and end (the last
    frame)."""
    found = object_tracks(frames)
    if found is None:
        return None
    path = start + np.linspace(0, 1, len(frames))[:, None] * (end - start)
    offset = found.centres - path
    moved = offset - offset[0]
    means = [float(np.linalg.norm(a, axis=1).mean()) for a in (offset, moved)]
    ends = [float(np.linalg.norm(a[-1])) for a in (offset, moved)]
    return {"place_px": means[0], "final_px": ends[0], "move_px": means[1], "end_px": ends[1]}


def summarize(found: list[Errors]) -> dict[str, Any]:
    """Medians and 90 % quantiles over the clips in which an object was visible, and how many those are."""
    visible = [f for f in found if f is not None]
    result: dict[str, Any] = {"clips": len(found), "visible": len(visible)}
    for name in visible[0] if visible else ():
        values = [f[name] for f in visible]
        result[name] = {"median": round(float(np.median(values)), 2), "p90": round(float(np.quantile(values, 0.9)), 2)}
    return result
