"""Figures of propagation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.bench.report.table import Table, percent

_SAME_DB = 99  # as benchmarks record equal frames


def fidelity_tables(report: dict[str, Any]) -> Iterator[Table]:
    attributes = list(report["rivals"]["plain"]["accuracy"])
    rows = []
    for name, row in report["rivals"].items():
        accuracy = [percent(row["accuracy"][attribute]) for attribute in attributes]
        psnr = [f"{row['psnr_db']:.1f} dB", f"{row['psnr_5_percent_db']:.1f} dB"]
        rows.append([name, f"{row['speedup']:.2f}x", *(["same frames"] * 2 if name == "plain" else psnr), *accuracy])
    columns = (
        "method",
        "speedup",
        "PSNR",
        "PSNR, 5 % quantile",
        *(f"{attribute} accuracy" for attribute in attributes),
    )
    yield Table(f"`{report['model']}`, {report['steps']} steps, {report['clips']} held-out prompts", columns, rows)


def promise_tables(report: dict[str, Any]) -> Iterator[Table]:
    columns = ("max_error", "met", "90 % of the errors are below", f"key steps of {report['steps']}")
    rows = [
        [promised, f"in {percent(row['met'])} of runs", f"{row['90_percent_error']:.4f}", f"{row['key_steps']:.0f}"]
        for promised, row in report["promises"].items()
    ]
    yield Table(f"`{report['model']}`, {report['steps']} steps, {report['renders']} renders", columns, rows)


def preset_tables(report: dict[str, Any]) -> Iterator[Table]:
    attributes = list(report["methods"]["plain"]["accuracy"])
    rows = [
        [
            name, f"{row['evaluations']:.0f}", f"{row['speedup']:.2f}x",
            *(["same frames"] * 2 if row["least_psnr_db"] >= _SAME_DB else
              [f"{row['psnr_db']:.1f} dB", f"{row['least_psnr_db']:.1f} dB"]),
            *(percent(row["accuracy"][attribute]) for attribute in attributes),
        ]
        for name, row in report["methods"].items()
    ]  # fmt: skip
    columns = ("method", "evaluations", "speedup", "PSNR", "lowest PSNR", *(f"{a} accuracy" for a in attributes))
    yield Table(f"`{report['model']}`, {report['steps']} steps, {report['clips']} held-out prompts", columns, rows)


def together_tables(report: dict[str, Any]) -> Iterator[Table]:
    clip = report["clip"]
    width, height = clip["size"]
    rows = [[name, f"{row['speedup']:.2f}x", f"{row['psnr_db']:.1f} dB"] for name, row in report["rows"].items()]
    caption = f"`{report['model']}`, {clip['frames']} frames of {width}x{height}, {clip['steps']} steps"
    yield Table(caption, ("technique", "speedup", "PSNR"), rows)


def model_tables(report: dict[str, Any]) -> Iterator[Table]:
    """Models of real shapes."""
    rows = [
        [name, kind, f"{row['step_s']:.3f} s", f"{row['speedup']:.2f}x", f"{row['cached_mib']:.0f} MiB"]
        for name, found in report["models"].items()
        for kind, row in found["kinds"].items()
    ]
    columns = ("model (random weights)", "method", "time per step", "speedup", "cached features")
    yield Table(f"On {report['machine']['device']}", columns, rows)


def fidelity_headline(report: dict[str, Any]) -> tuple[str, str]:
    row = report["rivals"]["max_error:0.02"]
    what = f"Propagation within an error of 2 %, {report['steps']} steps"
    return what, f"{row['speedup']:.2f}x as fast, PSNR {row['psnr_db']:.1f} dB to the full render"
