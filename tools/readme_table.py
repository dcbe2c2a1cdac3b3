"""Fill README's table of measured figures from benchmarks/*.json: `python tools/readme_table.py [--check]`.

No figure in the README is typed. A file is read by its row in READERS, else by its own `command` and `rows`
(a list of [what, figure]); a file that is neither is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
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
        for attribute, figure in result["accuracy"].items():
            share, low, high = (f"{100 * figure[key]:.1f}" for key in ("accuracy", "low", "high"))
            what = f"`{name}`: right {attribute}, {result['clips']} clips of prompts never trained on"
            yield what, f"{share} % (95 % interval {low} to {high})"
        vae = result["vae"]
        yield f"`{name}`: its VAE on {vae['clips']} unseen full-length clips", f"{vae['psnr_db']:.1f} dB (least {vae['least_psnr_db']:.1f})"


def kernel_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/bench_attention.py, kernels."""
    for row in data["kernels"]:
        what = f"sparse attention, CPU, {row['dtype']}, {row['length']:,} tokens, head dim {row['head_dim']}"
        speed = ", ".join(f"{row['speedup'][d]:.1f}x at {100 * float(d):.0f} % density" for d in row["speedup"])
        worst = min(row["efficiency"].values())
        yield what, f"{speed} (efficiency {worst:.2f} or more); a search costs {100 * row['search_share']:.1f} % of a dense call"


def attention_render_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/bench_attention.py, render."""
    found = data["render"]
    clip, audit = found["clip"], found["full_audit"]
    what = f"`{clip['model']}` at {clip['tokens']:,} tokens ({clip['frames']} frames of {clip['size'][0]}x{clip['size'][1]})"
    for name, row in found["policies"].items():
        seen = "the same frames" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB, SSIM {row['ssim']:.3f} to dense"
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
        yield f"`{model}`, {data['steps']} steps, {data['renders']} renders: max_error {promised} of the final latents", figure
    for name, row in data.get("rows", {}).items():
        clip = data["clip"]
        what = f"`{model}`, {clip['frames']} frames of {clip['size'][0]}x{clip['size'][1]}, {clip['steps']} steps: {name}"
        yield what, f"{row['speedup']:.2f}x, {row['psnr_db']:.1f} dB to plain"


def long_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Of tools/bench_long.py, all of its parts."""
    model = data["model"]
    for name, row in data.get("policies", {}).items():
        figure = (
            f"seams {row['seam_ratio']:.2f} ({100 * row['seams_over_limit']:.0f} % over 1.25); "
            f"right colour {100 * row['right_colour']:.0f} %, shape {100 * row['right_shape']:.0f} %; "
            f"motion {row['motion']:.2f} of one clip's, still {100 * row['still']:.0f} %; "
            f"drift {row['drift_de']:.1f} dE, likeness to itself {row['likeness']:.2f}; costs {row['cost']:.2f}x"
        )
        yield f"`{model}`, {data['clips']} prompts, {data['frames']} frames: {name}", figure
    for frames, row in data.get("runs", {}).items():
        slope = "" if row["slope"] is None else f"; the last third of the pieces takes {100 * row['slope']:+.1f} % of the first's time"
        yield f"`{model}`, a video of {frames} frames", f"peak memory {row['peak_bytes'] / 2**20:.0f} MiB{slope}"
    if "memory_ratio" in data:
        yield f"`{model}`, peak memory of the long over the short", f"{data['memory_ratio']:.3f}"
    if "stories" in data:
        late = data["late_frames"]
        figure = f"colour after {late['colour_late']:.0f} frames, motion after {late['motion_late']:.0f}, of a window of {data['window']}"
        yield f"`{model}`, {data['clips']} stories: what changes, after the asked second (median)", figure
        yield f"`{model}`, {data['clips']} stories: what stays (the shape), right in", f"{100 * data['right_shape']:.0f} % of the stretches"


def kill_rows(data: dict[str, Any]) -> Iterator[Row]:
    told = "no fault" if not data["faults"] else f"{len(data['faults'])} faults"
    yield (
        f"renders of {data['pieces']} pieces killed at random instants and begun again",
        f"{data['kills']} kills, {data['finished']} files whole and of the same frames, {told}",
    )


def _shares(right: dict[str, float]) -> str:
    return "right " + ", ".join(f"{what} {100 * share:.0f} %" for what, share in right.items())


READERS: dict[str, tuple[str | None, Callable[[dict[str, Any]], Iterator[Row]]]] = {
    "attention-kernels.json": (None, kernel_rows),
    "attention-render.json": (None, attention_render_rows),
    "embedded-quality.json": ("python tools/evaluate_embedded.py", quality_rows),
    "long-kills.json": (None, kill_rows),
    "render.json": (None, render_rows),
}
#: Of files that there are several of, one a model.
PREFIXES: dict[str, tuple[str | None, Callable[[dict[str, Any]], Iterator[Row]]]] = {
    "long-": (None, long_rows),
    "propagation-fidelity-": (None, propagation_rows),
    "propagation-promise-": (None, propagation_rows),
    "propagation-together-": (None, propagation_rows),
}


def table(folder: Path) -> str:
    """The markdown table of all files in `folder`, by file name."""
    lines = ["| measured | figure | command |", "|---|---|---|"]
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        known = READERS.get(path.name) or next((PREFIXES[prefix] for prefix in PREFIXES if path.name.startswith(prefix)), None)
        command, reader = known or (None, lambda found: iter(found["rows"]))
        command = command or data.get("command")
        if command is None or (known is None and "rows" not in data):
            raise ValueError(f"{path.name} has no reader; give it `command` and `rows`, or a row in READERS of {Path(__file__).name}")
        lines += [f"| {what} | {figure} | `{command}` |" for what, figure in reader(data)]
    return "\n".join(lines)


def filled(readme: str, figures: str) -> str:
    """The README's text with the table between its markers."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN!r} ... {END!r}; put both lines back")
    return f"{head}{BEGIN}\n\n{figures}\n\n{END}{tail}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the table is old")
    options = parser.parse_args(argv)
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    wanted = filled(text, table(ROOT / "benchmarks"))
    if options.check:
        return int(text != wanted)
    if text != wanted:
        readme.write_text(wanted, encoding="utf-8")
    print(readme)
    return 0


if __name__ == "__main__":
    sys.exit(main())
