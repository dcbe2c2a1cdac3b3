"""Quality of the embedded models: `python -m tools.evaluate_embedded [embedded|embedded-unet|PATH ...]`.

First the judge is validated on the world's own clips and against decoys (a wrong prompt must score at chance). Then
each model renders the 64 held-out prompts, `--seeds` times, and is scored on colour, shape and motion with 95 % Wilson
intervals, and its VAE on clips that it was not trained on. Writes one JSON report and a contact sheet per model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tools.judge import Verdict, judge
from tools.world import Scene, caption, held_out, render, sample_scene
from videogen import Engine
from videogen.metrics.fidelity import psnr_db

COMMAND = "python -m tools.evaluate_embedded"
ATTRIBUTES = ("colour", "shape", "motion")
WORLD_FPS = 16


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["embedded", "embedded-unet"], help="names or folders")
    parser.add_argument("--seeds", type=int, default=2, help="renders per prompt")
    parser.add_argument("--prompts", type=int, default=64, help="how many of the 64 held-out prompts")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder for the report and the sheets")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"command": COMMAND, "judge": validate_judge(), "models": {}}
    print(json.dumps(report["judge"]), file=sys.stderr)
    for name in options.models:
        result, sheet = evaluate(name, options.prompts, options.seeds, options.steps, options.guidance)
        label = Path(name).name
        report["models"][label] = result
        Image.fromarray(sheet).save(options.out / f"held-out-{label}.jpg", quality=88)
        print(json.dumps({label: result["accuracy"]}), file=sys.stderr)
    path = options.out / "embedded-quality.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(path)
    return 0


def validate_judge(count: int = 256) -> dict[str, dict[str, float]]:
    """The judge's accuracy on the world's own clips at both models' frame rates, and on decoys (another clip's
    prompt)."""
    proof: dict[str, dict[str, float]] = {}
    for frames, stride in ((33, 1), (16, 2)):
        scenes = _judgeable_scenes(count)
        verdicts = [judge(render(scene, frames, stride=stride).frames, stride=stride) for scene in scenes]
        true = _accuracy(scenes, verdicts)
        decoys = _accuracy(scenes[7:] + scenes[:7], verdicts)
        proof[f"{frames} frames"] = true | {f"decoy {name}": value for name, value in decoys.items()}
    return proof


def _judgeable_scenes(count: int) -> list[Scene]:
    """The held-out scenes and fresh ones, without balls that spin: they look like balls at rest."""
    scenes = [replace(scene, seed=scene.seed + 1) for scene in held_out()]
    seed = 3_000_000
    while len(scenes) < count:
        scene = sample_scene(seed, pairs=0, cameras=0)
        seed += 1
        if (scene.things[0].shape, scene.things[0].motion) != ("ball", "spins"):
            scenes.append(scene)
    return [scenes[i] for i in np.random.default_rng(0).permutation(count)]


def _accuracy(scenes: list[Scene], verdicts: list[Verdict]) -> dict[str, float]:
    return {
        name: float(
            np.mean([getattr(v, name) == getattr(s.things[0], name) for s, v in zip(scenes, verdicts, strict=True)])
        )
        for name in ATTRIBUTES
    }


def evaluate(
    name: str, prompts: int, seeds: int, steps: int | None, guidance: float | None
) -> tuple[dict[str, Any], np.ndarray]:
    """Score a model on the held-out prompts: the report's entry and a contact sheet (one row per clip, first seed)."""
    engine = Engine.load(name)
    scenes, verdicts, rows, clips = [], [], [], []
    start = time.perf_counter()
    for index, scene in enumerate(held_out()[:prompts]):
        for seed in range(seeds):
            video = engine.generate(caption(scene), seed=1000 * seed + index, steps=steps, guidance_scale=guidance)
            verdict = judge(video.frames, stride=WORLD_FPS / float(video.fps))
            scenes.append(scene)
            verdicts.append(verdict)
            clips.append(
                {
                    "prompt": caption(scene),
                    "seed": 1000 * seed + index,
                    "verdict": [verdict.colour, verdict.shape, verdict.motion],
                }
            )
            if seed == 0:
                chosen = np.linspace(0, len(video.frames) - 1, 9).round().astype(int)
                rows.append(np.concatenate(list(video.frames[chosen]), 1))
    accuracy = {}
    for attribute, fraction in _accuracy(scenes, verdicts).items():
        low, high = wilson(fraction, len(scenes))
        accuracy[attribute] = {"accuracy": round(fraction, 4), "low": round(low, 4), "high": round(high, 4)}
    half = (len(rows) + 1) // 2
    rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
    sheet = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], 1)
    seconds = (time.perf_counter() - start) / len(clips)
    report = {
        "clips": len(clips),
        "accuracy": accuracy,
        "vae": vae_quality(engine),
        "seconds_per_clip": round(seconds, 2),
        "verdicts": clips,
    }
    return report, sheet


def vae_quality(engine: Engine, count: int = 8) -> dict[str, float]:
    """PSNR in dB of full-length clips of fresh scenes, encoded and decoded: the mean and the worst."""
    defaults = engine.backbone.defaults
    stride = WORLD_FPS / defaults.fps
    values = []
    for seed in range(4_000_000, 4_000_000 + count):
        frames = render(sample_scene(seed), defaults.frames, defaults.height, stride=stride).frames
        with torch.inference_mode():
            pixels = engine.backbone.decode(engine.backbone.encode(torch.from_numpy(frames)[None]))
        values.append(psnr_db((pixels[0] * 255).round().to(torch.uint8).numpy(), frames))
    return {"psnr_db": round(float(np.mean(values)), 2), "least_psnr_db": round(min(values), 2), "clips": count}


def wilson(fraction: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion."""
    centre = (fraction + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (fraction * (1 - fraction) / count + z * z / (4 * count * count)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


if __name__ == "__main__":
    sys.exit(main())
