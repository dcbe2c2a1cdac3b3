"""First frames of clips longer than the native length: up to which length one pass is as good as at native length.

A transformer beyond the length that it was trained on may begin with other colours than the prompt's. What this
measures is stated as `single_pass_frames` in a checkpoint's `defaults.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from tools.bench.files import show_progress
from tools.judge import object_colour
from tools.world import Scene, caption, held_out
from videogen import Engine, Video
from videogen.core.frame_latent_map import FrameLatentMap

TIMES = (1.0, 1.125, 1.25, 1.375, 1.5)  # lengths, as multiples of the native one


def measure_first_frames(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Each prompt at each length, in one pass and by default settings, with the same seed."""
    native, latent_map = engine.backbone.defaults.frames, FrameLatentMap.from_geometry(engine.backbone.geometry)
    scenes = held_out()[: options.prompts]
    lengths: dict[str, Any] = {}
    for frames in (latent_map.round_up(int(times * native)) for times in TIMES):
        single = [_render(engine, scene, seed, frames, options.steps, "off") for seed, scene in enumerate(scenes)]
        default, segments = single, 1
        if frames > engine.backbone.single_pass_frames:
            default = [_render(engine, scene, seed, frames, options.steps, None) for seed, scene in enumerate(scenes)]
            assert default[0].manifest is not None
            segments = len(default[0].manifest["measured"]["long"]["segments"])
        lengths[str(frames)] = {
            "single_pass": _summarize(single, scenes),
            "segments": segments,
            "default": _summarize(default, scenes),
        }
        show_progress({frames: lengths[str(frames)]})
    return {"clips": len(scenes), "steps": options.steps, "native": native, "lengths": lengths}


def _render(engine: Engine, scene: Scene, seed: int, frames: int, steps: int, continuity: str | None) -> Video:
    return engine.generate(caption(scene), seed=seed, frames=frames, steps=steps, continuity=continuity)


def _summarize(videos: list[Video], scenes: Sequence[Scene]) -> dict[str, Any]:
    """first: in how many videos the first frame has the prompt's colour; frames: the fraction of all frames that do."""
    correct = [
        [object_colour(video.frames[at : at + 1]) == scene.things[0].colour for at in range(len(video.frames))]
        for video, scene in zip(videos, scenes, strict=True)
    ]
    total = sum(len(row) for row in correct)
    return {"first": sum(row[0] for row in correct), "frames": round(sum(map(sum, correct)) / total, 3)}
