"""Figures of renders and of the embedded models' quality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.bench.report.table import Table


def render_tables(report: dict[str, Any]) -> Iterator[Table]:
    machine = report["machine"]
    where = machine["device"] if "CPU" not in machine["device"] else f"{machine['cpu_cores']} CPU cores"
    rows = []
    for name, figures in report["models"].items():
        stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in figures["stages_s"].items())
        rows.append(
            [
                f"`{name}`",
                figures["clip"],
                f"{figures['render_s']:.1f} s ({stages})",
                f"{figures['load_and_render_s']:.1f} s",
                f"{figures['peak_memory_mib']} MiB",
                f"{figures['ratio_to_diffusers']:.2f}x",
                "bit-identical" if figures["frames_equal_diffusers"] else "different",
            ]
        )
    columns = (
        "model", "clip", "render time", "first clip, with imports and loading", "peak memory of the first clip",
        "time against diffusers", "frames against diffusers",
    )  # fmt: skip
    yield Table(f"On {where}", columns, rows)


def preview_tables(report: dict[str, Any]) -> Iterator[Table]:
    models = report["models"]
    fractions = list(next(iter(models.values()))["errors_of_runs"])
    rows = [
        [
            f"`{name}`", f"{row['mean_error']:.1f}", *(f"{row['errors_of_runs'][at]:.1f}" for at in fractions),
            f"{row['fit_s']:.1f} s", f"{100 * row['fraction_of_a_step']:.1f} % of a step",
        ]
        for name, row in models.items()
    ]  # fmt: skip
    columns = ("model", "encoded clips", *(f"at {float(at):.0%} of the steps" for at in fractions), "fit", "preview")
    yield Table(f"{report['clips']} held-out clips and {report['runs']} renders per model", columns, rows)


def hosting_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = [
        [
            f"`{name}`", f"{row['pipeline_s']:.2f} s", f"{row['hosted_s']:.2f} s", f"{row['own_family_s']:.2f} s",
            f"{100 * row['overhead_of_a_step']:.1f} %", "bit-identical" if row["equal"] else "different",
        ]
        for name, row in report["models"].items()
    ]  # fmt: skip
    columns = ("model", "pipeline's own call", "hosted", "hand-written family", "hosting adds", "frames")
    yield Table(f"CPU time of a clip of {report['steps']} steps, guided", columns, rows)


def stop_tables(report: dict[str, Any]) -> Iterator[Table]:
    cells = [str(report["stops"]), f"{report['slowest_s']:.1f} s", str(len(report["faults"]))]
    yield Table("Renders of `embedded` from the command line", ("signals", "slowest end", "faults"), [cells])


def quality_tables(report: dict[str, Any]) -> Iterator[Table]:
    attributes = list(next(iter(report["models"].values()))["accuracy"])
    rows = []
    for name, result in report["models"].items():
        vae, cells = result["vae"], []
        for attribute in attributes:
            accuracy, low, high = (100 * result["accuracy"][attribute][key] for key in ("accuracy", "low", "high"))
            cells.append(f"{accuracy:.1f} % ({low:.1f} to {high:.1f})")
        rows.append(
            [f"`{name}`", str(result["clips"]), *cells, f"{vae['psnr_db']:.1f} dB", f"{vae['least_psnr_db']:.1f} dB"]
        )
    columns = ("model", "clips", *(f"{a} accuracy (95 % interval)" for a in attributes), "VAE, mean", "VAE, worst clip")
    yield Table("Prompts that were never trained on", columns, rows)


def render_headline(report: dict[str, Any]) -> tuple[str, str]:
    figures = report["models"]["embedded"]
    clip = figures["clip"].partition(" of ")[0]
    what = f"A clip of {clip} from the embedded model, on {report['machine']['cpu_cores']} CPU cores"
    return what, f"{figures['render_s']:.1f} s, {figures['ratio_to_diffusers']:.2f}x the time of diffusers' pipeline"
