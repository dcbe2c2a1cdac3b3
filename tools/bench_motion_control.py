"""How well the embedded models follow a motion that the prompt does not tell: `python tools/bench_motion_control.py
WHAT [MODEL]`.

`control`: an object dragged along a straight path that is drawn at random, for each held-out prompt without its motion
words, by warped noise (where the model was trained for it) and dual-clock sampling at several strengths, by words alone
and not at all, with the same seeds. `camera`: pans and zooms over textured grounds, against what was asked. `transfer`:
the motion of a rendered clip and of a given video. One run, one JSON; what is measured is the object's centre (the
judge's) and the background's flow.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.bench import identity
from tools.judge import object_tracks
from tools.world import TEXTURES, Scene, Thing, caption, held_out, render, sample_scene, without_motion
from videogen import Engine, Video
from videogen.metrics.motion_errors import end_point_error
from videogen.metrics.registration import registered_camera
from videogen.motion import Camera, Drag, Transfer, compile_motion, estimate

Errors = dict[str, float] | None  # of one clip; None where no object is seen
Fit = dict[str, float] | None  # of one clip's ground; None where it is too plain to tell
SIZE, REACH = 64, (14.0, 50.0)  # px; where paths begin and end
DRIVER = Path(__file__).resolve().parents[1] / "benchmarks" / "driving" / "cup.mp4"
STRENGTHS = (0.3, 0.5, 0.7, 0.9, 1.0)
CAMERAS = {
    "pan right": {"pan": 12.0}, "pan left": {"pan": -12.0}, "tilt up": {"tilt": 12.0}, "tilt down": {"tilt": -12.0},
    "zoom in": {"zoom": 1.35}, "zoom out": {"zoom": 0.75}, "pan and zoom": {"pan": 8.0, "tilt": -6.0, "zoom": 1.2},
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("control", "camera", "transfer"))
    parser.add_argument("model", nargs="?", default="embedded")
    parser.add_argument("--prompts", type=int, default=64, help="how many of the 64 held-out prompts")
    parser.add_argument("--steps", type=int, default=None, help="default: the model's own")
    parser.add_argument("--strengths", type=float, nargs="*", default=STRENGTHS)
    parser.add_argument(
        "--warped", action="store_true", help="control: by warped noise, too, of a model not said to be trained for it"
    )
    parser.add_argument(
        "--dual-clock", nargs="*", default=["dual_clock"], help="noise levels to try, such as dual_clock:0.9,0.6"
    )
    parser.add_argument(
        "--video",
        type=Path,
        action="append",
        default=[],
        help="transfer: a driving video, may be repeated (default: a hand and a cup)",
    )
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    engine = Engine.load(options.model)
    begun = time.perf_counter()
    report = {"control": control, "camera": camera, "transfer": transfer}[options.what](engine, options)
    label = Path(options.model).name
    report |= identity(options.model) | {"seconds": round(time.perf_counter() - begun, 1)}
    report["command"] = f"python tools/bench_motion_control.py {options.what} {label}{_changed(parser, options)}"
    report["rows"] = [[f"`{label}`, {what}", figure] for what, figure in ROWS[options.what](report)]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"motion-{options.what}-{label}.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(path)
    return 0


def _changed(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """The settings that decide the figures, where they are not the usual ones."""
    told = ""
    for name in ("prompts", "steps", "strengths", "dual_clock"):
        value = getattr(options, name)
        if value != parser.get_default(name):
            words = (
                [str(value)]
                if not isinstance(value, list)
                else [f"{v:g}" if isinstance(v, float) else v for v in value]
            )
            told += f" --{name.replace('_', '-')} {' '.join(words)}"
    return told


def control(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Rows by way of control: errors in px over the clips."""
    steps, found = options.steps or engine.backbone.defaults.steps, []
    for index, scene in enumerate(held_out()[: options.prompts]):
        found.append(_ways(engine, scene, drag_of(index), index, steps, options))
        print(json.dumps({"done": index + 1}), file=sys.stderr)
    ways = {name: summary([clip[name] for clip in found]) for name in found[0]}
    return {"prompts": len(found), "steps": steps, "px_of": SIZE, "ways": ways}


def _ways(
    engine: Engine, scene: Scene, drag: Drag, seed: int, steps: int, options: argparse.Namespace
) -> dict[str, Errors]:
    """One drag by every way, with the same seed."""
    path, prompt = np.asarray(drag.path), caption(without_motion(scene))
    plain = engine.generate(prompt, seed=seed, steps=steps)
    rows: dict[str, Errors] = {
        "plain noise": errors(plain.frames, *path),
        "words alone": _words(engine, scene, drag, seed, steps),
    }
    for strength in options.strengths if options.warped or engine.backbone.training.warped_noise else ():
        moved = engine.generate(
            prompt, seed=seed, steps=steps, motion=drag, motion_backend="warped_noise", motion_strength=strength
        )  # fmt: skip
        rows[f"warped noise at strength {strength:g}"] = errors(moved.frames, *path)
    for backend in options.dual_clock:
        for strength in options.strengths:
            name = f"{backend.replace('_', ' ')} at strength {strength:g}"
            rows[name] = _dual_clock(engine, plain, drag, seed, backend, steps, strength)
    return rows


def drag_of(index: int) -> Drag:
    """A straight path of 10 to 36 px, of a disc as large as the world's things."""
    rng = np.random.default_rng((index, 31))
    while True:
        begin, end = rng.uniform(*REACH, (2, 2))
        if 10 <= np.linalg.norm(end - begin) <= 36:
            return Drag((float(begin[0]), float(begin[1]), 13.0), [tuple(map(float, begin)), tuple(map(float, end))])


def _control_rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    curves: dict[str, list[str]] = {}
    for name, row in report["ways"].items():
        way, _, strength = name.partition(" at strength ")
        if row["seen"]:
            figure = f"{row['place_px']['median']:.1f} / {row['end_px']['median']:.1f}"
            curves.setdefault(way, []).append(figure + (f" at {strength}" if strength else ""))
    told = "; ".join(f"{way} {', '.join(ends)}" for way, ends in curves.items())
    figure = f"median px of {SIZE} between the object and its path / between its way and the path's: {told}"
    yield f"{report['prompts']} drags that the prompt does not tell, over strength", figure
    for name, row in report["ways"].items():
        if "move_px" not in row:
            continue
        place, final, path, end = (row[key]["median"] for key in ("place_px", "final_px", "move_px", "end_px"))
        figure = f"medians, px of {SIZE}: its track {place:.1f} off, its last place {final:.1f}; "
        figure += f"less where it began {path:.1f}, at the end {end:.1f}"
        yield f"{row['seen']} of {row['clips']} drags that the prompt does not tell, {name}", figure


def _camera_rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _camera_summary(report["cameras"])
    for name, row in report["cameras"].items():
        floors = {part: f" (its VAE alone {100 * value:.0f} %)" for part, value in row["floor"].items()}
        off = ", ".join(f"{part} {100 * value:.0f} %{floors.get(part, '')}" for part, value in row["off"].items())
        yield (
            f"camera over textures, {name}, {row['seen']} of {row['clips']} clips",
            f"off by (medians): {off or 'too plain to tell'}",
        )


def _camera_summary(cameras: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A row for each backend: how far off each move's parts are, in the median of its clips."""
    for way in dict.fromkeys(name.rpartition(", ")[2] for name in cameras):
        rows = {name.rpartition(", ")[0]: row for name, row in cameras.items() if name.endswith(way)}
        told = "; ".join(f"{name}: {_percents(row['off'])}" for name, row in rows.items())
        clips = sum(row["clips"] for row in rows.values())
        yield f"{len(rows)} cameras over textures, {way}, {clips} clips", f"off by (medians): {told}"


def _percents(off: dict[str, float]) -> str:
    """`5 %`, or where a move has several parts `pan 5 %, zoom 3 %`."""
    told = [(f"{part} " if len(off) > 1 else "") + f"{100 * value:.0f} %" for part, value in off.items()]
    return ", ".join(told) or "too plain to tell"


def _transfer_rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, row in report["drivers"].items():
        told = ", ".join(f"{strength}: {found['error_px']:.2f}" for strength, found in row.items())
        still = next(iter(row.values()))["of_standing_still_px"]
        yield f"motion taken from {name}", f"flow error in px a frame, {told} (standing still: {still:.2f})"


ROWS = {"control": _control_rows, "camera": _camera_rows, "transfer": _transfer_rows}


def _dual_clock(
    engine: Engine, plain: Video, drag: Drag, seed: int, backend: str, steps: int, strength: float
) -> Errors:
    """The plain render's object is dragged by the same displacement, less what would leave the picture."""
    found = object_tracks(plain.frames)
    if found is None:
        return None
    begin = found.centres[0]
    begun, ended = np.asarray(drag.path)
    end = np.clip(begin + ended - begun, REACH[0] - 4, REACH[1] + 4)
    moved = Drag(found.coverage[0] > 0.3, [tuple(map(float, begin)), tuple(map(float, end))])
    assert plain.manifest is not None
    prompt = plain.manifest["request"]["prompt"]
    video = engine.generate(
        prompt, seed=seed, steps=steps, motion=moved, motion_backend=backend, motion_strength=strength
    )
    return errors(video.frames, begin, end)


def _words(engine: Engine, scene: Scene, drag: Drag, seed: int, steps: int) -> Errors:
    """The nearest of the world's four directions, said in the prompt."""
    dx, dy = np.asarray(drag.path[1]) - np.asarray(drag.path[0])
    words = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
    told = replace(scene, things=(replace(scene.things[0], motion=f"moves {words}"),))
    return errors(engine.generate(caption(told), seed=seed, steps=steps).frames, *np.asarray(drag.path))


def errors(frames: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Errors:
    """px between the object's centre and the path: place (mean over frames), final (the last frame's); the same less
    the first frame's, which a model that is not told the place may choose: move (mean) and end."""
    found = object_tracks(frames)
    if found is None:
        return None
    path = begin + np.linspace(0, 1, len(frames))[:, None] * (end - begin)
    away = found.centres - path
    moved = away - away[0]
    lengths = [float(np.linalg.norm(a, axis=1).mean()) for a in (away, moved)]
    ends = [float(np.linalg.norm(a[-1])) for a in (away, moved)]
    return {"place_px": lengths[0], "final_px": ends[0], "move_px": lengths[1], "end_px": ends[1]}


def summary(found: list[Errors]) -> dict[str, Any]:
    """Medians and 90 % quantiles over the clips in which an object was seen, and how many those are."""
    seen = [f for f in found if f is not None]
    result: dict[str, Any] = {"clips": len(found), "seen": len(seen)}
    for name in seen[0] if seen else ():
        values = [f[name] for f in seen]
        result[name] = {"median": round(float(np.median(values)), 2), "p90": round(float(np.quantile(values, 0.9)), 2)}
    return result


def camera(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """What the background did, against what was asked, over textured grounds; beside it what is measured on a picture
    that was moved exactly so and went through the model's VAE."""
    rows, clips = {}, max(1, options.prompts // len(CAMERAS))
    ways = ("warped_noise", "dual_clock") if engine.backbone.training.warped_noise else ("dual_clock",)
    for name, asked in CAMERAS.items():
        spec = Camera(**asked)
        floors: list[Fit] = []
        fits: dict[str, list[Fit]] = {way: [] for way in ways}
        for index, way in product(range(clips), ways):
            video = engine.generate(_textured(index), seed=index, steps=options.steps, motion=spec, motion_backend=way)
            fits[way].append(_fit(video.frames))
            if way == ways[0]:
                plan = compile_motion(spec, len(video), SIZE, SIZE)
                floors.append(_fit(_decoded(engine, plan.preview(video.frames[0], arrows=False))))
        for way in ways:
            row = {"asked": asked, "measured": _medians(fits[way]), "measured_on_the_plan": _medians(floors)}
            row |= {
                "off": _off(asked, fits[way]),
                "floor": _off(asked, floors),
                "clips": clips,
                "seen": len(_seen(fits[way])),
            }
            rows[f"{name}, by {way.replace('_', ' ')}"] = row
            print(json.dumps({name: {way: row["off"]}}), file=sys.stderr)
    return {"cameras": rows}


def _textured(index: int) -> str:
    """A prompt of a thing over a texture, its motion untold."""
    thing = Thing(
        ("ball", "square", "triangle", "star")[index % 4], ("red", "blue", "yellow")[index % 3], "stays still"
    )
    return caption(without_motion(Scene((thing,), TEXTURES[index % 3])))


def _decoded(engine: Engine, frames: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        pixels = engine.backbone.decode(engine.backbone.encode(torch.from_numpy(frames)[None]))
    return (pixels[0] * 255).round().to(torch.uint8).cpu().numpy()


def _fit(frames: np.ndarray) -> Fit:
    """What the ground did, the object left out; None where it is too plain to tell, as stripes are along themselves."""
    found = object_tracks(frames)
    ground = (
        None
        if found is None
        else (torch.nn.functional.max_pool2d(torch.from_numpy(found.coverage), 5, 1, 2) < 0.05).numpy()
    )
    fit = registered_camera(frames, ground)
    return None if fit is None else vars(fit)


def _seen(fits: list[Fit]) -> list[dict[str, float]]:
    return [fit for fit in fits if fit is not None]


def _medians(fits: list[Fit]) -> dict[str, float]:
    seen = _seen(fits)
    return {name: round(float(np.median([fit[name] for fit in seen])), 3) for name in (seen or [{}])[0]}


def _off(asked: dict[str, float], fits: list[Fit]) -> dict[str, float]:
    """The median over clips of the relative error of each asked part, of a zoom of its logarithm; empty where no ground
    was seen."""
    names, scale = {"pan": "pan_px", "tilt": "tilt_px", "zoom": "zoom"}, {"zoom": np.log}
    off = {}
    for part, value in asked.items() if _seen(fits) else ():
        of = scale.get(part, float)
        off[part] = round(float(np.median([abs(of(fit[names[part]]) / of(value) - 1) for fit in _seen(fits)])), 3)
    return off


def transfer(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Flow of the result against the driving clip's, where that moves; each with strength 0 beside it."""
    defaults = engine.backbone.defaults
    scenes = [sample_scene(seed, untold=True, cameras=0.3) for seed in range(8)]
    drivers = {f"world clip {scene.seed}": render(scene, defaults.frames, SIZE).frames for scene in scenes}
    for path in options.video or [DRIVER]:
        drivers[path.stem] = shrunk(Video.open(path), defaults.frames, float(defaults.fps))
    rows = {}
    for name, frames in drivers.items():
        rows[name] = {f"strength {s:g}": _transferred(engine, frames, s, options.steps) for s in (0.0, 0.5, 0.9)}
        print(json.dumps({name: rows[name]}), file=sys.stderr)
    return {"drivers": rows}


def _transferred(engine: Engine, frames: np.ndarray, strength: float, steps: int | None) -> dict[str, float]:
    video = engine.generate(
        "a white star on a noisy background", steps=steps, seed=5, motion=Transfer(frames), motion_strength=strength,
    )  # fmt: skip
    flow, target = (np.stack([estimate(a, b, preset="fast") for a, b in pairwise(f)]) for f in (video.frames, frames))
    moving = np.linalg.norm(target, axis=1) > 0.2
    if not moving.any():
        moving[:] = True
    error = end_point_error(flow, target, moving)
    still = end_point_error(np.zeros_like(target), target, moving)
    return {"error_px": round(error.mean_px, 3), "of_standing_still_px": round(still.mean_px, 3)}


def shrunk(video: Video, frames: int, fps: float) -> np.ndarray:
    """The middle square of a video's beginning, at the model's size and rate."""
    chosen = np.floor(np.arange(frames) * float(video.fps) / fps + 0.5).astype(int)
    if chosen[-1] >= len(video):
        raise SystemExit(
            f"the driving video has {len(video)} frames; {chosen[-1] + 1} are needed for {frames} at {fps:g} a second"
        )
    clip = video.frames[chosen]
    side = min(clip.shape[1:3])
    top, left = (clip.shape[1] - side) // 2, (clip.shape[2] - side) // 2
    cut = clip[:, top : top + side, left : left + side]
    return np.stack([np.asarray(Image.fromarray(frame).resize((SIZE, SIZE), Image.Resampling.BOX)) for frame in cut])


if __name__ == "__main__":
    sys.exit(main())
