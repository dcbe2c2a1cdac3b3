"""Measure propagation on the embedded models: `python tools/bench_propagation.py fidelity|promise|together|calibrate
MODEL`.

fidelity: 32 held-out prompts, the plain render and every rival with the same seeds, in turn: speedup of the denoising
(median of the paired ratios), PSNR against the plain frames (mean and 5 % quantile), and the judge's accuracy. promise:
64 renders at each max_error; the share whose final latents lie within it. Both go on where they were cut off. together:
propagation, sparse attention and both on one long clip. calibrate: the factor between the controller's sum and the
final error, on prompts that the other parts never use, into videogen/propagation/calibration.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.bench import identity, machine
from tools.bench_rows import Rows
from tools.judge import judge
from tools.world import caption, held_out, sample_scene
from videogen import Engine, InputError, UnsupportedError
from videogen.metrics.fidelity import psnr_db, ssim
from videogen.propagation.caches import LibraryCache
from videogen.propagation.library import calibrate_magcache
from videogen.sampling.technique import Technique
from videogen.techniques.feature_cache import LibraryCacheTechnique

STEPS = 50
CALIBRATION = Path(__file__).resolve().parents[1] / "videogen" / "propagation" / "calibration.json"
PROMISES = (0.01, 0.02, 0.05)
BUDGETS = (0.04, 0.08, 0.2)  # of the runs that calibrate


@dataclass(frozen=True)
class Rival:
    """A way to save time: keywords of `Engine.generate`."""

    name: str
    options: dict[str, Any]


def rivals(model: str) -> Iterator[Rival]:
    for promise in (0.02, 0.05, 0.1, 0.2):
        yield Rival(f"max_error:{promise}", {"propagate": f"max_error:{promise}"})
    for steps in (25, 20):
        yield Rival(f"plain, {steps} steps", {"steps": steps})
    if model == "embedded-unet":
        yield Rival("fd", {"propagate": "fd"})
        yield Rival(
            "fd, one by one", {"propagate": {"keys": "fd", "boundary": "fd", "predictor": "hold", "micro_batch": 1}}
        )
        for error in (0.1, 0.2):
            yield Rival(f"cut:1,1, max_error:{error}", {"propagate": {"max_error": error, "boundary": "cut:1,1"}})
        yield Rival("deepcache:3", {"propagate": "deepcache:3"})
    else:
        yield Rival("blocks:1,1, max_error:0.1", {"propagate": {"max_error": 0.1, "boundary": "blocks:1,1"}})
        for word in ("first-block:0.1", "taylorseer:3", "seacache:0.5", "pab:2"):
            yield Rival(word, {"propagate": word})


class Watch(Technique):
    """Keeps the last latents."""

    latents: torch.Tensor

    def after_step(self, row: Any, state: Any) -> Any:
        self.latents = state.latents
        return state


def render(engine: Engine, prompt: str, seed: int, **options: Any) -> tuple[Any, torch.Tensor, float]:
    """(video, final latents, seconds of denoising)."""
    watch = Watch()
    techniques = [watch, *([options.pop("technique")] if "technique" in options else [])]
    video = engine.generate(prompt, seed=seed, techniques=techniques, **({"steps": STEPS} | options))
    return video, watch.latents, video.manifest["timings_s"]["denoise"]


class Told(Technique):
    """Tells a handle of diffusers' caches each step, and leaves it attached."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def evaluate(self, row: Any, branch: str, latents: Any, text: Any, call: Any) -> Any:
        with self.handle.at(row.index, branch, timestep=row.timestep, sigma=row.sigma):
            return call(latents, text)


def magcache_rivals(engine: Engine) -> Iterator[Rival]:
    """MagCache with ratios measured on this model, which its own table does not hold."""
    prompt = caption(sample_scene(6_000_000, pairs=0, cameras=0))

    def run(handle: Any) -> None:
        engine.generate(prompt, seed=1, steps=STEPS, techniques=[Told(handle)])

    ratios = calibrate_magcache(engine.backbone.pipeline, run, steps=STEPS)
    technique = LibraryCacheTechnique(LibraryCache("magcache", 0.12), one_branch_a_call=True, mag_ratios=ratios)
    yield Rival("magcache:0.12", {"technique": technique})


def fidelity(options: argparse.Namespace) -> dict[str, Any]:
    engine = Engine.load(options.model, device=options.device)
    competing = [*rivals(options.model)]
    if engine.backbone.native_guidance == "sequential":
        competing += magcache_rivals(engine)
    scenes = held_out()[: options.prompts]
    what = {"part": "fidelity", "hash": engine.backbone.digest, "rivals": [r.name for r in competing], "steps": STEPS}
    kept = Rows(report_path(options), what)
    refused: dict[str, str] = {}
    for index, scene in list(enumerate(scenes))[len(kept.rows) :]:
        plain, _, seconds = render(engine, caption(scene), index)
        row = {"plain": _noted(plain, plain, 1.0, scene)}
        for rival in competing:
            if rival.name in refused:
                continue
            try:
                video, _, taken = render(engine, caption(scene), index, **rival.options)
            except (InputError, UnsupportedError) as error:
                refused[rival.name] = str(error)
                continue
            row[rival.name] = _noted(video, plain, seconds / taken, scene)
        kept.add({"found": row, "refused": refused})
        print(json.dumps({"done": index + 1}), file=sys.stderr)
    rows = kept.rows[: len(scenes)]
    summaries = {name: _summary([row["found"][name] for row in rows]) for name in rows[0]["found"]}
    return {"clips": len(scenes), "steps": STEPS, "rivals": summaries, "refused": rows[0]["refused"]}


def _noted(video: Any, plain: Any, ratio: float, scene: Any) -> dict[str, Any]:
    """What is kept of one render."""
    verdict = judge(video.frames, stride=16 / float(video.fps))
    thing = scene.things[0]
    return {
        "speedup": ratio,
        "psnr": min(99.0, psnr_db(video.frames, plain.frames)),
        "ssim": ssim(video.frames, plain.frames),
        "keys": len(video.manifest["measured"].get("propagation", {}).get("keys", video.manifest["plan"])),
        "right": [getattr(verdict, what) == getattr(thing, what) for what in ("colour", "shape", "motion")],
    }


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    values = {name: [row[name] for row in rows] for name in rows[0]}
    right = np.asarray(values["right"]).mean(0)
    return {
        "speedup": round(statistics.median(values["speedup"]), 3),
        "psnr_db": round(float(np.mean(values["psnr"])), 2),
        "psnr_5_percent_db": round(float(np.quantile(values["psnr"], 0.05)), 2),
        "ssim": round(float(np.mean(values["ssim"])), 4),
        "keys": round(float(np.mean(values["keys"])), 1),
        "right": {
            name: round(float(share), 3) for name, share in zip(("colour", "shape", "motion"), right, strict=True)
        },
    }


def promise(options: argparse.Namespace) -> dict[str, Any]:
    engine = Engine.load(options.model, device=options.device)
    kept = Rows(
        report_path(options), {"part": "promise", "hash": engine.backbone.digest, "promises": PROMISES, "steps": STEPS}
    )
    for index, scene in list(enumerate(held_out()[: options.renders]))[len(kept.rows) :]:
        _, plain, _ = render(engine, caption(scene), 500 + index)
        row = []
        for e in PROMISES:
            video, latents, _ = render(engine, caption(scene), 500 + index, propagate=f"max_error:{e}")
            row.append(
                {"error": relative(latents, plain), "keys": len(video.manifest["measured"]["propagation"]["keys"])}
            )
        kept.add(row)
        print(json.dumps({"done": index + 1, "errors": [one["error"] for one in row]}), file=sys.stderr)
    rows = kept.rows[: options.renders]
    return {
        "renders": len(rows), "steps": STEPS,
        "promises": {str(e): _held(e, [row[i] for row in rows]) for i, e in enumerate(PROMISES)},
    }  # fmt: skip


def _held(promised: float, rows: list[dict[str, Any]]) -> dict[str, float]:
    errors = [row["error"] for row in rows]
    return {
        "kept": round(float(np.mean([error <= promised for error in errors])), 4),
        "median_error": round(statistics.median(errors), 5),
        "90_percent_error": round(float(np.quantile(errors, 0.9)), 5),
        "keys": round(float(np.mean([row["keys"] for row in rows])), 1),
    }


def relative(latents: torch.Tensor, plain: torch.Tensor) -> float:
    return float((latents - plain).norm() / plain.norm())


def together(options: argparse.Namespace) -> dict[str, Any]:
    """One long clip: dense, each technique by itself, both."""
    engine = Engine.load(options.model, device=options.device)
    clip = {"frames": options.frames, "size": (options.side, options.side), "steps": options.steps, "continuity": "off"}
    prompt = "a red ball moves right on a black background"
    plain, _, base = render(engine, prompt, 1, **clip)
    rows = {}
    kinds: dict[str, dict[str, Any]] = {
        "propagation": {"propagate": "max_error:0.02"}, "sparse attention": {"attention": "adaptive"},
        "both": {"propagate": "max_error:0.02", "attention": "adaptive"},
    }  # fmt: skip
    for name, more in kinds.items():
        video, _, taken = render(engine, prompt, 1, **clip, **more)
        rows[name] = {
            "speedup": round(base / taken, 3),
            "psnr_db": round(min(99.0, psnr_db(video.frames, plain.frames)), 2),
        }
        print(json.dumps({name: rows[name]}), file=sys.stderr)
    return {"clip": {**clip, "prompt": prompt}, "denoise_s": round(base, 2), "rows": rows}


def calibrate(options: argparse.Namespace) -> dict[str, Any]:
    """The share of the final error in the controller's sum, at the conformal 90 % quantile of renders never used
    elsewhere."""
    engine = Engine.load(options.model, device=options.device)
    shares: list[float] = []
    for index in range(options.renders):
        prompt = caption(sample_scene(5_000_000 + index, pairs=0, cameras=0))
        _, plain, _ = render(engine, prompt, 9000 + index)
        for budget in BUDGETS:
            video, latents, _ = render(
                engine, prompt, 9000 + index, propagate={"max_error": budget, "boundary": options.boundary}
            )
            told = video.manifest["measured"]["propagation"]
            if told["estimated_error"]:
                shares.append(relative(latents, plain) / (told["estimated_error"] / told["factor"]))
        print(json.dumps({"done": index + 1, "shares": shares[-3:]}), file=sys.stderr)
    if not shares:
        raise InputError(f"no step was propagated at max_error {BUDGETS}: nothing is there to calibrate on")
    rank = min(len(shares) - 1, int(np.ceil((len(shares) + 1) * 0.9)) - 1)
    return {
        "factor": round(sorted(shares)[rank], 4), "renders": len(shares), "median": round(statistics.median(shares), 4),
        "solver": type(engine.backbone.scheduler).__name__, "steps": STEPS,
    }  # fmt: skip


def _counted(options: argparse.Namespace) -> str:
    """The option that says how much was measured, where it is not the usual amount."""
    usual = {"fidelity": ("prompts", 32), "promise": ("renders", 64)}
    name, count = usual.get(options.part, ("", 0))
    return f" --{name} {getattr(options, name)}" if name and getattr(options, name) != count else ""


def report_path(options: argparse.Namespace) -> Path:
    return Path(options.out) / f"propagation-{options.part}-{Path(options.model).name}.json"


PARTS = {"fidelity": fidelity, "promise": promise, "together": together, "calibrate": calibrate}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("model", nargs="?", default="embedded")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--renders", type=int, default=64)
    parser.add_argument("--boundary", default="output", help="calibrate: for which boundary")
    parser.add_argument("--frames", type=int, default=129, help="together: the clip's length")
    parser.add_argument("--side", type=int, default=128, help="together: its width and height in px")
    parser.add_argument("--steps", type=int, default=50, help="together: its steps; below 50 little is propagated")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    found = PARTS[options.part](options)
    label = Path(options.model).name
    if options.part == "calibrate":
        table = json.loads(CALIBRATION.read_text(encoding="utf-8")) if CALIBRATION.is_file() else {}
        table.setdefault(options.boundary, {})[label] = found
        CALIBRATION.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        print(CALIBRATION)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    path = report_path(options)
    command = f"python tools/bench_propagation.py {options.part} {label}{_counted(options)}"
    result = {"command": command, "machine": machine(options.device), **identity(options.model), **found}
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".part.jsonl").unlink(missing_ok=True)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
