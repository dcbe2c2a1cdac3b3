"""Write all figures from benchmarks/*.json: `python tools/readme_table.py [--check]`.

The full table goes to docs/figures.md, its headlines to the README; no figure in either is typed. SUBJECTS says which
files belong to which subject, what reads them, and which of their rows are headlines. A file without a reader there
brings its own `command` and `rows` (a list of [what, figure]); one that is neither is an error, and so is a headline
without its row.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

BEGIN, END = "<!-- figures: begin (make readme) -->", "<!-- figures: end -->"
Row = tuple[str, str]


def render_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/bench.py."""
    machine = data["machine"]
    where = machine["device"] if "CPU" not in machine["device"] else f"{machine['cpu_cores']} CPU cores"
    for name, figures in data["models"].items():
        stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in figures["stages_s"].items())
        yield f"`{name}`: {figures['clip']}, on {where}", f"{figures['render_s']:.1f} s ({stages})"
        yield f"`{name}`: the first clip, with imports and loading", f"{figures['load_and_render_s']:.1f} s"
        yield f"`{name}`: peak memory of that process", f"{figures['peak_memory_mib']} MiB"
        same = "the same frames, bit for bit" if figures["frames_equal_diffusers"] else "frames differ"
        yield f"`{name}`: time against diffusers' own pipeline", f"{figures['ratio_to_diffusers']:.2f}x, {same}"


def quality_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/evaluate_embedded.py."""
    for name, result in data["models"].items():
        parts = []
        for attribute, figure in result["accuracy"].items():
            share, low, high = (f"{100 * figure[key]:.1f}" for key in ("accuracy", "low", "high"))
            parts.append(f"{attribute} {share} % ({low} to {high})")
        yield f"`{name}`: right, {result['clips']} clips of prompts never trained on (95 % intervals)", ", ".join(parts)
        vae = result["vae"]
        yield (
            f"`{name}`: its VAE on {vae['clips']} unseen full-length clips",
            f"{vae['psnr_db']:.1f} dB (least {vae['least_psnr_db']:.1f})",
        )


def kernel_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/bench_attention.py, kernels."""
    for row in data["kernels"]:
        what = f"sparse attention, CPU, {row['dtype']}, {row['length']:,} tokens, head dim {row['head_dim']}"
        speed = ", ".join(f"{row['speedup'][d]:.1f}x at {100 * float(d):.0f} % density" for d in row["speedup"])
        worst = min(row["efficiency"].values())
        yield (
            what,
            f"{speed} (efficiency {worst:.2f} or more); a search costs {100 * row['search_share']:.1f} % of a dense call",
        )


def attention_render_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/bench_attention.py, render."""
    found = data["render"]
    clip, audit = found["clip"], found["full_audit"]
    what = f"`{clip['model']}` at {clip['tokens']:,} tokens ({clip['frames']} frames of {clip['size'][0]}x{clip['size'][1]})"
    for name, row in found["policies"].items():
        seen = (
            "the same frames" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB, SSIM {row['ssim']:.3f} to dense"
        )
        speed = f", {row['speedup']:.2f}x as fast as dense" if "speedup" in row else ""
        yield f"{what}, {name}", f"density {row['mean_density']:.2f}{speed}, {seen}"
    least = "nothing was made sparse"
    if audit["least"] is not None:
        least = f"least {audit['least']:.3f}, {audit['below']} of {audit['cells']} below"
    yield f"{what}, recall {audit['promised']} under a full audit (every step and layer, worst head)", least


def propagation_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/bench_propagation.py, all of its parts."""
    model = data["model"]
    for name, row in data.get("rivals", {}).items():
        if name == "plain":
            continue
        right = "judged as plain" if row["right"] == data["rivals"]["plain"]["right"] else _shares(row["right"])
        near = f"{row['psnr_db']:.1f} dB to plain (5 % of the clips under {row['psnr_5_percent_db']:.1f})"
        figure = f"{row['speedup']:.2f}x, {near}; {right}"
        yield f"`{model}`, {data['steps']} steps, {data['clips']} held-out prompts: {name}", figure
    for promised, row in data.get("promises", {}).items():
        figure = f"kept in {100 * row['kept']:.0f} % (90 % of them under {row['90_percent_error']:.4f}), {row['keys']:.0f} keys"
        yield (
            f"`{model}`, {data['steps']} steps, {data['renders']} renders: max_error {promised} of the final latents",
            figure,
        )
    for name, row in data.get("rows", {}).items():
        clip = data["clip"]
        what = (
            f"`{model}`, {clip['frames']} frames of {clip['size'][0]}x{clip['size'][1]}, {clip['steps']} steps: {name}"
        )
        yield what, f"{row['speedup']:.2f}x, {row['psnr_db']:.1f} dB to plain"


def long_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/bench_long.py, all of its parts."""
    model = data["model"]
    short = data.get("one clip", {}).get("dynamic")
    for name, row in data.get("policies", {}).items():
        flow = f", by flow {row['flow']:.2f}" if {"flow", "dynamic"} <= row.keys() else ""
        flow += f", dynamic {100 * row['dynamic']:.0f} % for {100 * short:.0f} %" if flow and short is not None else ""
        figure = (
            f"seams {row['seam_ratio']:.2f} ({100 * row['seams_over_limit']:.0f} % over 1.25); "
            f"right colour {100 * row['right_colour']:.0f} %, shape {100 * row['right_shape']:.0f} %; "
            f"motion {row['motion']:.2f} of one clip's{flow}, still {100 * row['still']:.0f} %; "
            f"drift {row['drift_de']:.1f} dE, likeness to itself {row['likeness']:.2f}; costs {row['cost']:.2f}x"
        )
        yield f"`{model}`, {data['clips']} prompts, {data['frames']} frames: {name}", figure
    for frames, row in data.get("runs", {}).items():
        slope = (
            ""
            if row["slope"] is None
            else f"; the last third of the segments takes {100 * row['slope']:+.1f} % of the first's time"
        )
        yield f"`{model}`, a video of {frames} frames", f"peak memory {row['peak_bytes'] / 2**20:.0f} MiB{slope}"
    if "memory_ratio" in data:
        ratio = f"{data['memory_ratio']:.3f} (least of {data['repeats']} processes each)"
        yield f"`{model}`, peak memory of the long over the short", ratio
    if "growth" in data:
        growth = f"{data['growth']['median']:.3f} (worst of {data['repeats']}: {data['growth']['worst']:.3f})"
        yield f"`{model}`, peak memory at the end of the long over that after its first part", growth
    if "stories" in data:
        late = data["late_frames"]
        figure = f"colour after {late['colour_late']:.0f} frames, motion after {late['motion_late']:.0f}, of a window of {data['window']}"
        yield f"`{model}`, {data['clips']} stories: what changes, after the asked second (median)", figure
        yield (
            f"`{model}`, {data['clips']} stories: what stays (the shape), right in",
            f"{100 * data['right_shape']:.0f} % of the stretches",
        )


def kill_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/kill_resume.py."""
    told = "no fault" if not data["faults"] else f"{len(data['faults'])} faults"
    yield (
        f"renders of {data['segments']} segments killed at random instants and begun again",
        f"{data['kills']} kills, {data['finished']} files whole and of the same frames, {told}",
    )


def own_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of a tool that writes its rows itself."""
    return iter(data["rows"])


def _shares(right: dict[str, float]) -> str:
    return "right " + ", ".join(f"{what} {100 * share:.0f} %" for what, share in right.items())


@dataclass(frozen=True)
class Source:
    """Files that are read alike.

    files: a pattern over their names (`*` and `?`); of several the first in SUBJECTS takes a file. headlines: regular
    expressions, each of which finds exactly one row of each such file, by what is measured; they leave open what a new
    run may change (clips, frames, the machine). command: of files that do not say it.
    """

    files: str
    reader: Callable[[dict[str, Any]], Iterator[Row]] = own_rows
    headlines: tuple[str, ...] = ()
    command: str | None = None


@dataclass(frozen=True)
class Subject:
    """A heading of docs/figures.md, how to read its rows, and where they come from, in order."""

    title: str
    reading: str
    sources: tuple[Source, ...]


SUBJECTS = (
    Subject(
        "Rendering",
        "A clip's seconds are the median of renders after one to warm up, those of the first clip and the memory are of a process of "
        "its own, and time against diffusers is the same clip by both in turns: above 1 the engine is slower.",
        (
            Source(
                "render.json",
                render_rows,
                (
                    r"^`embedded`: .* steps, on ",
                    r"^`embedded`: the first clip",
                    r"^`embedded`: peak memory",
                    r"^`embedded`: time against diffusers",
                ),
            ),
        ),
    ),
    Subject(
        "Quality of the embedded models",
        "A classical judge, proved on clips whose content is known, says for each clip whether colour, shape and motion are the "
        "prompt's; the VAE's figure is the PSNR of clips that it encodes and decodes.",
        (
            Source(
                "embedded-quality.json",
                quality_rows,
                (r"^`embedded`: right", r"^`embedded-unet`: right"),
                command="python tools/evaluate_embedded.py",
            ),
        ),
    ),
    Subject(
        "Sparse attention: kernels",
        "Each call is timed against PyTorch's fastest dense attention in turns, the least of some rounds each, over random block maps; "
        "efficiency is speed-up times density, and 1 loses nothing to being sparse.",
        (Source("attention-kernels.json", kernel_rows, (r"float32, 16,384 tokens, head dim 128$",)),),
    ),
    Subject(
        "Sparse attention: a render and its recall",
        "Density is the share of key blocks that is kept, speed that of the whole denoising, and the audit measures, against full "
        "attention, how much of its softmax mass the worst head keeps.",
        (
            Source(
                "attention-render.json",
                attention_render_rows,
                (r"frames of \d+x\d+\), recall$", r"recall [\d.]+ under a full audit"),
            ),
        ),
    ),
    Subject(
        "Propagation: fidelity",
        'Speed is that of the denoising, and dB the likeness of the frames (PSNR) to the plain 50-step render of the same seed; "judged '
        'as plain" means that the judge finds colour, shape and motion right as often as there.',
        (
            Source(
                "propagation-fidelity-embedded.json", propagation_rows, (r": max_error:0\.02$", r": plain, 25 steps$")
            ),
            Source("propagation-fidelity-*.json", propagation_rows),
        ),
    ),
    Subject(
        "Propagation: its promise",
        "A promise is kept where the final latents lie within max_error of the plain run's (relative L2); keys are the steps of 50 that "
        "run the whole model, on average.",
        (
            Source("propagation-promise-embedded.json", propagation_rows),
            Source("propagation-promise-embedded-unet.json", propagation_rows, (r": max_error 0\.02 ",)),
            Source("propagation-promise-*.json", propagation_rows),
        ),
    ),
    Subject(
        "Propagation and sparse attention together",
        "Speed is that of the denoising and dB the likeness of the frames to the plain render, with each technique alone and with both.",
        (Source("propagation-together-*.json", propagation_rows),),
    ),
    Subject(
        "Motion that is drawn",
        "The prompt tells no motion, so that only the drawing can; an object's centre is measured against the path that was drawn, and "
        "less is better.",
        (
            Source(
                "motion-control-embedded.json",
                headlines=(r"drags .*, over strength$",),
            ),
            Source("motion-control-*.json"),
            Source("motion-camera-embedded.json", headlines=(r"cameras .*, by dual clock,",)),
            Source("motion-camera-*.json"),
            Source("motion-transfer-*.json"),
        ),
    ),
    Subject(
        "Warped noise",
        "Noise that moves must stay white Gaussian noise (none told from it, where resampled noise fails the same tests) and keep its "
        "values along the motion (correlation 1, or as much as the motion leaves).",
        (Source("motion-noise.json", headlines=(r"told from white Gaussian noise$",)),),
    ),
    Subject(
        "Long videos: how clips hang together",
        "Seams are how far a join's step stands out from the steps around it (median; 1 is not at all, above 1.25 it is seen as a jump), "
        "motion is what changes from frame to frame (by flow: how far the fastest parts go; dynamic: the share of stretches that move by "
        "VBench's rule, for the share of single clips) against a single clip of the same prompt, "
        "still is the share of frozen frames, drift how far the mean colour wanders over the video, likeness to itself 1 where it shows "
        "again what it showed, and cost how many latent frames the model evaluates for each one shown.",
        (
            Source("long-policies-embedded.json", long_rows, (r"frames: clean_prefix$",)),
            Source("long-policies-embedded-unet.json", long_rows, (r"frames: clean_prefix$",)),
            Source("long-policies-*.json", long_rows),
        ),
    ),
    Subject(
        "Long videos: memory and time",
        "Peak memory is that of the whole process, the less of two runs, and stays the same if nothing grows with the video's length.",
        (
            Source("long-length-embedded.json", long_rows, (r"peak memory of the long over the short$",)),
            Source("long-length-*.json", long_rows),
        ),
    ),
    Subject(
        "Long videos: kills",
        "Renders are killed without warning and begun again until they finish; each file's frames must be those of an unbroken run, bit "
        "for bit.",
        (Source("long-kills.json", kill_rows, (r"^renders of \d+ segments killed",)),),
    ),
    Subject(
        "Long videos: stories",
        "The prompts ask for another colour, then for rest, at given seconds: fewer frames until it is so are better, and the shape is "
        "to stay.",
        (
            Source("long-story-embedded.json", long_rows, (r"stories: what changes",)),
            Source("long-story-*.json", long_rows),
        ),
    ),
    Subject("Other figures", "Each row says what it measures.", (Source("*.json"),)),
)


def grouped(folder: Path) -> Iterator[tuple[Subject, list[tuple[Path, Source]]]]:
    """The subjects that `folder` has files of, with these files and what reads them."""
    left = sorted(folder.glob("*.json"))
    for subject in SUBJECTS:
        taken = []
        for source in subject.sources:
            taken += [(path, source) for path in left if fnmatchcase(path.name, source.files)]
            left = [path for path in left if not fnmatchcase(path.name, source.files)]
        if taken:
            yield subject, taken


def rows_of(path: Path, source: Source) -> list[Row]:
    """What each row of one file measures, and its line of the table."""
    data = json.loads(path.read_text(encoding="utf-8"))
    command = source.command or data.get("command")
    if command is None or (source.reader is own_rows and "rows" not in data):
        raise ValueError(
            f"{path.name} has no reader; give it `command` and `rows`, or a Source in SUBJECTS of {Path(__file__).name}"
        )
    now = _weights(data.get("model", ""))
    older = " (earlier weights)" if now is not None and data.get("model_hash", now) != now else ""
    return [(what, f"| {what} | {figure}{older} | `{command}` |") for what, figure in source.reader(data)]


@cache
def _weights(model: str) -> str | None:
    """What identifies an embedded model's weights as they are now; None for a model that is not here."""
    from videogen.backbones.loading import digest
    from videogen.backbones.registry import EMBEDDED

    return digest(EMBEDDED[model]) if model in EMBEDDED else None


def headlines_of(path: Path, source: Source) -> Iterator[str]:
    """The lines of one file that its source's headlines find, in the headlines' order."""
    rows = rows_of(path, source)
    for pattern in source.headlines:
        found = [line for what, line in rows if re.search(pattern, what)]
        if len(found) != 1:
            raise ValueError(
                f"the headline {pattern!r} finds {len(found)} rows of {path.name}, not one; mend it in SUBJECTS of {Path(__file__).name}. "
                f"The file has: {'; '.join(what for what, _ in rows)}"
            )
        yield found[0]


def as_table(lines: Iterable[str]) -> str:
    """Lines under the table's head."""
    return "\n".join(["| measured | figure | command |", "|---|---|---|", *lines])


def headline_table(folder: Path) -> str:
    """The README's table of all files in `folder`."""
    return as_table(
        line for _, files in grouped(folder) for path, source in files for line in headlines_of(path, source)
    )


def figures_page(folder: Path) -> str:
    """docs/figures.md: every row of all files in `folder`, by subject."""
    parts = [
        "# All figures",
        "`make readme` writes this page from `benchmarks/*.json`; nothing here is typed. Each row ends with the command that measures it.",
    ]
    for subject, files in grouped(folder):
        rows = as_table(line for path, source in files for _, line in rows_of(path, source))
        parts += [f"## {subject.title}", subject.reading, rows]
    return "\n\n".join(parts) + "\n"


def filled(readme: str, figures: str) -> str:
    """The README's text with the table between its markers."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN!r} ... {END!r}; put both lines back")
    return f"{head}{BEGIN}\n\n{figures}\n\n{END}{tail}"


def wanted(root: Path) -> dict[Path, str]:
    """What README.md and docs/figures.md are to hold, by path."""
    readme, folder = root / "README.md", root / "benchmarks"
    text = readme.read_text(encoding="utf-8")
    return {readme: filled(text, headline_table(folder)), root / "docs" / "figures.md": figures_page(folder)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where either file is old")
    options = parser.parse_args(argv)
    old = {
        path: text
        for path, text in wanted(ROOT).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    if options.check:
        return int(bool(old))
    for path, text in old.items():
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
