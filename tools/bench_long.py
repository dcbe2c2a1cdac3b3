"""Measure long videos: `python tools/bench_long.py policies|length|story [MODEL]`.

policies: held-out prompts at ten times the model's own length under every way of hanging clips together, with the same
seeds: seams, drift, repetition, freezing, motion and cost; the judge looks at each stretch of one clip's length.
length: one video of 200 and one of 2,000 frames, each in fresh processes: peak memory, how much it grew after the first
200 frames, seconds a frame as it goes. story: prompts that change at a given second: when colour and motion change, and
whether the rest stays. Goes on where it was cut off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.bench import identity, machine, peak_memory_bytes
from tools.bench_rows import Rows
from tools.judge import judge
from tools.world import Scene, caption, held_out
from videogen import Engine, RenderRequest, Video
from videogen.longvideo.run import LongRun
from videogen.metrics.freeze import changes, dynamic
from videogen.metrics.motion_errors import dynamic_degree
from videogen.metrics.seams import RATIO_LIMIT
from videogen.motion.flow import estimate
from videogen.request.continuity_policies import benchmark_names, needs_met

STEPS = 20
STORY = (("red", "moves right"), ("blue", "moves right"), ("blue", "stays still"))


# --- policies
# -----------------------------------------------------------------------------------------------------------------


def policies(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    names = options.policies or usual(engine)
    window = engine.backbone.defaults.frames
    what = {
        "part": "policies",
        "hash": engine.backbone.digest,
        "policies": names,
        "steps": options.steps,
        "times": options.times,
    }
    kept = Rows(report_path(options), what)
    for index, scene in list(enumerate(held_out()[: options.prompts]))[len(kept.rows) :]:
        row: dict[str, Any] = {}
        short = engine.generate(caption(scene), seed=index, frames=window, steps=options.steps, continuity="off")
        row["one clip"] = judged(short.frames, scene, window, float(short.fps))
        for name in names:
            video = engine.generate(
                caption(scene), seed=index, frames=options.times * window, steps=options.steps, continuity=name
            )
            row[name] = described(video, scene, window)
        kept.add(row)
        print(
            json.dumps(
                {
                    "done": index + 1,
                    **{n: [round(float(np.median(row[n]["ratios"])), 2), row[n]["right"]] for n in names},
                }
            ),
            file=sys.stderr,
        )
    rows = kept.rows[: options.prompts]
    short = [row["one clip"] for row in rows]
    found = {
        name: {**summary([row[name] for row in rows], short), "cost": cost(engine, name, options.times * window)}
        for name in names
    }
    same = {"clips": len(rows), "frames": options.times * window, "steps": options.steps}
    before = measured_before(
        report_path(options), same | {"machine": machine(None), "model_hash": engine.backbone.digest}
    )
    return {**same, "policies": before | found,
            "one clip": {"right": np.mean([row["right"] for row in short], 0).round(3).tolist(),
                         "dynamic": round(float(np.mean([row["dynamic"] for row in short])), 3)}}  # fmt: skip


def usual(engine: Engine) -> tuple[str, ...]:
    """The policies that the model can do."""
    return benchmark_names(needs_met(engine.backbone))


def measured_before(path: Path, same: dict[str, Any]) -> dict[str, Any]:
    """The policies of the report that is there, if all else is the same: one can be measured without the others."""
    report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return dict(report["policies"]) if report and all(report.get(name) == value for name, value in same.items()) else {}


def described(video: Video, scene: Scene, window: int) -> dict[str, Any]:
    """What is kept of one long clip."""
    assert video.manifest is not None
    told = video.manifest["measured"]["long"]["report"]
    return judged(video.frames, scene, window, float(video.fps)) | {
        "ratios": told["ratios"],
        "colours_de": [seam["colour_de"] for seam in told["seams"]],
        "drift_de": told["drift"]["colour_de"] if told["drift"] else 0.0,
        "likeness": told["repetition"]["similarity"] if told["repetition"] else 0.0,
        "still": told["freeze"]["share"],
    }


def cost(engine: Engine, policy: str, frames: int) -> float:
    """Latent frames that the model evaluates at each step for one that is shown; a single clip's is 1."""
    run = LongRun(
        engine.backbone, RenderRequest("a red ball", frames=frames, continuity=policy).resolve(engine.backbone)
    )
    seen = 0
    for segment in run.segments:
        windows = 1 if segment.windows is None else len(segment.windows.at())
        seen += len(segment.clips) * windows * (segment.frames if segment.windows is None else segment.windows.size)
    return round(seen / run.segments[-1].stop, 2)


def judged(frames: np.ndarray, scene: Scene, window: int, fps: float) -> dict[str, Any]:
    """right: the share of stretches with the prompt's colour, and shape; motion: how much changes from frame to frame;
    flow_px: how far the fastest go; dynamic: the share of stretches that move by VBench's rule."""
    thing, right, moving = scene.things[0], [], []
    fastest = np.array([dynamic_degree(estimate(a, b, preset="fast")[None]).fastest_px for a, b in pairwise(frames)])
    for start in range(0, len(frames) - window + 1, window):
        verdict = judge(frames[start : start + window], stride=16 / fps)
        right.append([verdict.colour == thing.colour, verdict.shape == thing.shape])
        moving.append(
            dynamic(fastest[start : start + window - 1], height=frames.shape[1], width=frames.shape[2], fps=fps)
        )
    return {
        "right": np.mean(right, 0).tolist(), "motion": float(changes(frames).mean()),
        "flow_px": float(fastest.mean()), "dynamic": float(np.mean(moving)),
    }  # fmt: skip


def summary(rows: list[dict[str, Any]], short: list[dict[str, Any]]) -> dict[str, Any]:
    """short: the same prompts' single clips."""
    ratios = np.concatenate([row["ratios"] for row in rows])
    return {
        "seam_ratio": round(float(np.median(ratios)), 3),
        "seams_over_limit": round(float((ratios > RATIO_LIMIT).mean()), 3),
        "seam_colour_de": round(float(np.median(np.concatenate([row["colours_de"] for row in rows]))), 3),
        "right_colour": round(float(np.mean([row["right"][0] for row in rows])), 3),
        "right_shape": round(float(np.mean([row["right"][1] for row in rows])), 3),
        "motion": round(sum(row["motion"] for row in rows) / sum(row["motion"] for row in short), 3),
        "flow": round(sum(row["flow_px"] for row in rows) / sum(row["flow_px"] for row in short), 3),
        "dynamic": round(float(np.mean([row["dynamic"] for row in rows])), 3),
        "still": round(float(np.mean([row["still"] for row in rows])), 3),
        "drift_de": round(median(row["drift_de"] for row in rows), 2),
        "likeness": round(median(row["likeness"] for row in rows), 3),
    }


# --- length
# -------------------------------------------------------------------------------------------------------------------


def length(options: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for frames in (options.short, options.long):
        runs = [in_a_fresh_process(frames, options) for _ in range(options.repeats)]
        slopes = [run["slope"] for run in runs if run["slope"] is not None]
        found[str(frames)] = {
            "frames": frames,
            "peak_bytes": min(run["peak_bytes"] for run in runs),
            "cpu_seconds_a_segment": round(median(run["cpu_seconds_a_segment"] for run in runs), 3),
            "slope": round(median(slopes), 4) if slopes else None,
        }
        print(json.dumps({frames: runs}), file=sys.stderr)
    short, long = found[str(options.short)], found[str(options.long)]
    ratio, growth = round(long["peak_bytes"] / short["peak_bytes"], 3), [run["growth"] for run in runs]
    return {
        "steps": options.steps, "repeats": options.repeats, "runs": found, "memory_ratio": ratio,
        "growth": {"median": round(median(growth), 3), "worst": round(max(growth), 3)},
    }  # fmt: skip


def in_a_fresh_process(frames: int, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "length", options.model, "--one", str(frames), "--steps", str(options.steps)]
    command += ["--threads", str(options.threads)] if options.threads else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{frames} frames failed: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def one_length(options: argparse.Namespace) -> dict[str, Any]:
    """In this process: one long video to a file in a temporary folder."""
    import tempfile

    engine = Engine.load(options.model)
    marks: list[tuple[float, int]] = []
    peaks: list[int] = []

    def told(progress: Any) -> None:
        if progress.stage == "denoise" and progress.step % options.steps == 0:
            marks.append((time.process_time(), progress.step // options.steps))
            peaks.append(peak_memory_bytes())

    with tempfile.TemporaryDirectory() as folder:
        request = RenderRequest(
            "a red ball moves in a circle on a black background", frames=options.one, steps=options.steps
        )
        done = engine.render_long(request, Path(folder) / "clip.mp4", progress=told)
        seconds = [after - before for (before, a), (after, b) in pairwise(marks) if b == a + 1]
        peak, early = peak_memory_bytes(), peaks[min(len(peaks) - 1, len(peaks) * options.short // options.one)]
        return {
            "frames": done.frames, "peak_bytes": peak, "growth": round(peak / early, 4),
            "cpu_seconds_a_segment": round(median(seconds), 3), "slope": slope(seconds),
        }  # fmt: skip


def slope(seconds: list[float]) -> float | None:
    """By which share a segment at the end takes longer than one at the start, by the medians of the first and last
    thirds."""
    third = len(seconds) // 3
    return round(median(seconds[-third:]) / median(seconds[:third]) - 1, 4) if third >= 2 else None


# --- story
# --------------------------------------------------------------------------------------------------------------------


def story(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Colour changes, then motion, at given seconds; the ground and the shape are to stay."""
    window, fps = engine.backbone.defaults.frames, engine.backbone.defaults.fps
    shot = 3 * window
    rows = []
    for seed, shape in enumerate(("ball", "square", "triangle", "ball")[: options.prompts]):
        prompts = {
            i * shot: f"a {colour} {shape} {motion} on a black background" for i, (colour, motion) in enumerate(STORY)
        }
        video = engine.generate(story=prompts, frames=len(STORY) * shot, seed=seed, steps=options.steps)
        rows.append(told_story(video.frames, shape, shot, window, fps))
        print(json.dumps(rows[-1]), file=sys.stderr)
    return {"clips": len(rows), "window": window, "steps": options.steps, "stories": rows,
            "late_frames": {name: float(median(row[name] for row in rows)) for name in ("colour_late", "motion_late")},
            "right_shape": round(float(np.mean([row["right_shape"] for row in rows])), 3)}  # fmt: skip


def told_story(frames: np.ndarray, shape: str, shot: int, window: int, fps: int) -> dict[str, Any]:
    """How many frames after the asked one colour and motion have changed; how many stretches show the shape."""
    half = max(6, window // 4)
    colours = [judge(frames[at : at + half]).colour for at in range(shot, 2 * shot - half)]
    late = next((i for i, colour in enumerate(colours) if colour == STORY[1][0]), shot)
    moving = changes(frames)
    level = float(np.median(moving[shot : 2 * shot]))
    calm = [float(np.median(moving[at : at + half])) for at in range(2 * shot, 3 * shot - half)]
    stopped = next((i for i, value in enumerate(calm) if value < level / 2), shot)
    stretches = [
        judge(frames[at : at + window], stride=16 / fps).shape == shape
        for at in range(0, len(frames) - window + 1, window)
    ]
    return {"colour_late": late, "motion_late": stopped, "right_shape": float(np.mean(stretches))}


def report_path(options: argparse.Namespace) -> Path:
    return Path(options.out) / f"long-{options.part}-{Path(options.model).name}.json"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("policies", "length", "story"))
    parser.add_argument("model", nargs="?", default="embedded")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--times", type=int, default=10, help="policies: of the model's own length")
    parser.add_argument("--policies", nargs="*", help="policies: which, as --continuity takes them")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--short", type=int, default=200)
    parser.add_argument("--long", type=int, default=2000)
    parser.add_argument(
        "--repeats", type=int, default=3, help="length: runs of each; the least peak and the median time count"
    )
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(one_length(options)))
        return 0
    work = {"policies": policies, "story": story}
    found = length(options) if options.part == "length" else work[options.part](Engine.load(options.model), options)
    path, label = report_path(options), Path(options.model).name
    usual = parser.parse_args([options.part, options.model])
    changed = [
        f"--{name} {getattr(options, name)}"
        for name in ("prompts", "times", "steps")
        if getattr(options, name) != getattr(usual, name)
    ]
    changed += [f"--policies {' '.join(found['policies'])}"] if options.policies else []
    command = " ".join([f"python tools/bench_long.py {options.part} {label}", *changed])
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"command": command, "machine": machine(None), **identity(options.model), **found}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".part.jsonl").unlink(missing_ok=True)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
