"""Continuity policies on held-out prompts: seams, drift, repetition, freezing, motion and cost."""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tools.bench.environment import machine
from tools.bench.files import ResumableRows, read_report, show_progress
from tools.judge import judge
from tools.world import Scene, caption, held_out
from videogen import Engine, RenderRequest, Video
from videogen.longvideo.run import LongRun
from videogen.metrics.freeze import changes, dynamic
from videogen.metrics.motion_errors import dynamic_degree
from videogen.metrics.seams import RATIO_LIMIT
from videogen.motion.flow import estimate
from videogen.request.continuity_policies import benchmark_names, needs_met

SINGLE = "one clip"  # a row's entry for the same prompt's single clip


def measure_policies(engine: Engine, options: argparse.Namespace, report: Path) -> dict[str, Any]:
    """Each prompt as one clip of native length, and as a long video under each policy, with the same seed."""
    names = options.policies or supported_policies(engine)
    window, frames = engine.backbone.defaults.frames, options.times * engine.backbone.defaults.frames
    subject = {"part": "policies", "hash": engine.backbone.digest, "policies": names}
    stored = ResumableRows(report, subject | {"steps": options.steps, "times": options.times})
    for index, scene in list(enumerate(held_out()[: options.prompts]))[len(stored.rows) :]:
        prompt = caption(scene)
        single = engine.generate(prompt, seed=index, frames=window, steps=options.steps, continuity="off")
        row: dict[str, Any] = {SINGLE: measure_motion(single.frames, scene, window, float(single.fps))}
        for name in names:
            video = engine.generate(prompt, seed=index, frames=frames, steps=options.steps, continuity=name)
            row[name] = measure_long_clip(video, scene, window)
        stored.add(row)
        summary = {name: [median_or_none(row[name]["ratios"]), row[name]["accuracy"]] for name in names}
        show_progress({"done": index + 1, **summary})
    rows = stored.rows[: options.prompts]
    singles = [row[SINGLE] for row in rows]
    found = {
        name: {**summarize([row[name] for row in rows], singles), "cost": cost(engine, name, frames)} for name in names
    }
    same = {"clips": len(rows), "frames": frames, "steps": options.steps}
    before = measured_before(report, same | {"machine": machine(None), "model_hash": engine.backbone.digest})
    single_clip = {
        "accuracy": np.mean([row["accuracy"] for row in singles], 0).round(3).tolist(),
        "dynamic": round(float(np.mean([row["dynamic"] for row in singles])), 3),
    }
    return {**same, "policies": before | found, "single_clip": single_clip}


def supported_policies(engine: Engine) -> tuple[str, ...]:
    """The policies that the model supports."""
    return benchmark_names(needs_met(engine.backbone))


def measured_before(path: Path, same: dict[str, Any]) -> dict[str, Any]:
    """Policies of the existing report, if all else is the same: one policy can be measured without the others."""
    report = read_report(path)
    return dict(report["policies"]) if report and all(report.get(name) == value for name, value in same.items()) else {}


def measure_long_clip(video: Video, scene: Scene, window: int) -> dict[str, Any]:
    """Figures of one long clip."""
    assert video.manifest is not None
    report = video.manifest["measured"]["long"]["report"]
    return measure_motion(video.frames, scene, window, float(video.fps)) | {
        "ratios": report["ratios"],
        "colours_de": [seam["colour_de"] for seam in report["seams"]],
        "drift_de": report["drift"]["colour_de"] if report["drift"] else 0.0,
        "similarity": report["repetition"]["similarity"] if report["repetition"] else 0.0,
        "frozen": report["freeze"]["fraction"],
    }


def cost(engine: Engine, policy: str, frames: int) -> float:
    """Latent frames that the model evaluates per step and latent frame of the video; a single clip's is 1."""
    request = RenderRequest("a red ball", frames=frames, continuity=policy)
    run = LongRun(engine.backbone, request.resolve(engine.backbone))
    evaluated = 0
    for segment in run.segments:
        windows = 1 if segment.windows is None else len(segment.windows.at())
        size = segment.frames if segment.windows is None else segment.windows.size
        evaluated += len(segment.clips) * windows * size
    return round(evaluated / run.segments[-1].stop, 2)


def measure_motion(frames: np.ndarray, scene: Scene, window: int, fps: float) -> dict[str, Any]:
    """accuracy: the fraction of stretches with the prompt's colour, and shape; motion: mean change from frame to frame;
    flow_px: mean speed of the fastest parts; dynamic: the fraction of stretches that move by VBench's criterion."""
    thing, correct, moving = scene.things[0], [], []
    fastest = np.array([dynamic_degree(estimate(a, b, preset="fast")[None]).fastest_px for a, b in pairwise(frames)])
    height, width = frames.shape[1:3]
    for start in range(0, len(frames) - window + 1, window):
        verdict = judge(frames[start : start + window], stride=16 / fps)
        correct.append([verdict.colour == thing.colour, verdict.shape == thing.shape])
        moving.append(dynamic(fastest[start : start + window - 1], height=height, width=width, fps=fps))
    return {
        "accuracy": np.mean(correct, 0).tolist(),
        "motion": float(changes(frames).mean()),
        "flow_px": float(fastest.mean()),
        "dynamic": float(np.mean(moving)),
    }


def median_or_none(values: list[float]) -> float | None:
    return round(median(values), 3) if values else None


def summarize(rows: list[dict[str, Any]], singles: list[dict[str, Any]]) -> dict[str, Any]:
    """A policy's figures over all prompts; those of joins are None where no clip had one. singles: the same prompts'
    single clips."""
    ratios = [ratio for row in rows for ratio in row["ratios"]]
    colours_de = [colour for row in rows for colour in row["colours_de"]]

    def mean(values: list[float]) -> float:
        return round(float(np.mean(values)), 3)

    return {
        "seam_ratio": median_or_none(ratios),
        "seams_over_limit": mean([ratio > RATIO_LIMIT for ratio in ratios]) if ratios else None,
        "seam_colour_de": median_or_none(colours_de),
        "colour_accuracy": mean([row["accuracy"][0] for row in rows]),
        "shape_accuracy": mean([row["accuracy"][1] for row in rows]),
        "motion": round(sum(row["motion"] for row in rows) / sum(row["motion"] for row in singles), 3),
        "flow": round(sum(row["flow_px"] for row in rows) / sum(row["flow_px"] for row in singles), 3),
        "dynamic": mean([row["dynamic"] for row in rows]),
        "frozen": mean([row["frozen"] for row in rows]),
        "drift_de": round(median(row["drift_de"] for row in rows), 2),
        "similarity": round(median(row["similarity"] for row in rows), 3),
    }
