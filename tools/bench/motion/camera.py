"""Cameras over textured backgrounds: how near the background's motion comes to the target."""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

import numpy as np
import torch

from tools.bench.files import show_progress
from tools.bench.motion.control import FRAME_PX
from tools.judge import object_tracks
from tools.world import TEXTURES, Scene, Thing, caption, without_motion
from videogen import Engine
from videogen.metrics.registration import registered_camera
from videogen.motion import Camera, compile_motion

Fit = dict[str, float] | None  # of one clip's background; None where it has too little texture
CAMERAS: dict[str, dict[str, Any]] = {
    "pan right": {"pan": 12.0}, "pan left": {"pan": -12.0}, "tilt up": {"tilt": 12.0}, "tilt down": {"tilt": -12.0},
    "zoom in": {"zoom": 1.35}, "zoom out": {"zoom": 0.75}, "pan and zoom": {"pan": 8.0, "tilt": -6.0, "zoom": 1.2},
}  # fmt: skip


def measure_cameras(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """The background's motion against the target, per camera and backend; and, as the error that the VAE alone causes,
    that of a frame which was moved exactly and went through the model's VAE."""
    rows, clips = {}, max(1, options.prompts // len(CAMERAS))
    backends = ("warped_noise", "dual_clock") if engine.backbone.training.warped_noise else ("dual_clock",)
    for name, target in CAMERAS.items():
        camera = Camera(**target)
        exact: list[Fit] = []
        fits: dict[str, list[Fit]] = {backend: [] for backend in backends}
        for index, backend in product(range(clips), backends):
            video = engine.generate(
                _prompt(index), seed=index, steps=options.steps, motion=camera, motion_backend=backend
            )
            fits[backend].append(fit_camera(video.frames))
            if backend == backends[0]:
                plan = compile_motion(camera, len(video), FRAME_PX, FRAME_PX)
                exact.append(fit_camera(_through_vae(engine, plan.preview(video.frames[0], arrows=False))))
        for backend in backends:
            rows[f"{name}, by {backend.replace('_', ' ')}"] = _row(target, fits[backend], exact)
        show_progress({name: {backend: relative_error(target, fits[backend]) for backend in backends}})
    return {"cameras": rows}


def _row(target: dict[str, float], fits: list[Fit], exact: list[Fit]) -> dict[str, Any]:
    return {
        "target": target,
        "measured": _medians(fits),
        "measured_on_plan": _medians(exact),
        "relative_error": relative_error(target, fits),
        "vae_error": relative_error(target, exact),
        "clips": len(fits),
        "measurable": len(_measurable(fits)),
    }


def _prompt(index: int) -> str:
    """An object over a texture, without motion words."""
    shape, colour = ("ball", "square", "triangle", "star")[index % 4], ("red", "blue", "yellow")[index % 3]
    return caption(without_motion(Scene((Thing(shape, colour, "stays still"),), TEXTURES[index % 3])))


def _through_vae(engine: Engine, frames: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        pixels = engine.backbone.decode(engine.backbone.encode(torch.from_numpy(frames)[None]))
    return np.asarray((pixels[0] * 255).round().to(torch.uint8).cpu().numpy())


def fit_camera(frames: np.ndarray) -> Fit:
    """The background's motion without the object; None where it has too little texture, as stripes along themselves."""
    found = object_tracks(frames)
    background = None
    if found is not None:
        coverage = torch.from_numpy(found.coverage)
        background = (torch.nn.functional.max_pool2d(coverage, 5, 1, 2) < 0.05).numpy()
    fit = registered_camera(frames, background)
    return None if fit is None else vars(fit)


def _measurable(fits: list[Fit]) -> list[dict[str, float]]:
    return [fit for fit in fits if fit is not None]


def _medians(fits: list[Fit]) -> dict[str, float]:
    found = _measurable(fits)
    return {name: round(float(np.median([fit[name] for fit in found])), 3) for name in (found or [{}])[0]}


def relative_error(target: dict[str, float], fits: list[Fit]) -> dict[str, float]:
    """Median over the clips of the relative error of each part of the target, of a zoom that of its logarithm; empty
    where no background was measurable."""
    names, found = {"pan": "pan_px", "tilt": "tilt_px", "zoom": "zoom"}, _measurable(fits)
    result = {}
    for part, value in target.items() if found else ():
        scale = np.log if part == "zoom" else float
        errors = [abs(scale(fit[names[part]]) / scale(value) - 1) for fit in found]
        result[part] = round(float(np.median(errors)), 3)
    return result
