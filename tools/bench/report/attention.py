"""Figures of sparse attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.bench.report.table import ABSENT, Table, percent


def kernel_tables(report: dict[str, Any]) -> Iterator[Table]:
    yield _kernel_table(f"On {_where(report)}", report["kernels"])


def gpu_tables(report: dict[str, Any]) -> Iterator[Table]:
    """The kernels on a GPU, and models of real shapes."""
    yield _kernel_table(f"On {_where(report)}", report["gpu"]["kernels"])
    models = report["gpu"]["models"]
    labels = list(models[0]["speedup"])
    rows = [
        [row["model"], f"{row['tokens']:,}", f"{row['dense_s']:.3f} s", *(f"{row['speedup'][d]:.2f}x" for d in labels)]
        for row in models
    ]
    columns = ("model", "tokens", "one call, dense", *(f"speedup at {label}" for label in labels))
    yield Table("Models of real shapes with random weights", columns, rows)


def _where(report: dict[str, Any]) -> str:
    device = report["machine"]["device"]
    return device if "CPU" not in device else f"{report['machine']['torch_threads']} CPU threads"


def _kernel_table(caption: str, kernels: list[dict[str, Any]]) -> Table:
    densities = list(kernels[0]["speedup"])
    rows = [
        [
            row["dtype"], f"{row['length']:,}", str(row["head_dim"]), *(f"{row['speedup'][d]:.1f}x" for d in densities),
            f"{min(row['efficiency'].values()):.2f}", percent(row["search_fraction"], 1),
        ]
        for row in kernels
    ]  # fmt: skip
    speedups = (f"speedup at {percent(float(d))} density" for d in densities)
    columns = ("dtype", "tokens", "head dim", *speedups, "lowest efficiency", "cost of a search, of a dense call")
    return Table(caption, columns, rows)


def render_tables(report: dict[str, Any]) -> Iterator[Table]:
    found = report["render"]
    rows = []
    for name, row in found["policies"].items():
        psnr = "same frames" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB"
        speedup = f"{row['speedup']:.2f}x" if "speedup" in row else ABSENT
        rows.append([name, f"{row['mean_density']:.2f}", speedup, psnr, f"{row['ssim']:.3f}"])
    yield Table(_clip(found["clip"]), ("policy", "density", "speedup", "PSNR to dense", "SSIM to dense"), rows)
    audit = found["full_audit"]
    least = "no call was sparse" if audit["least"] is None else f"{audit['least']:.3f}"
    columns = ("target recall", "measured steps and layers", "lowest recall of any head", "below the target")
    cells = [str(audit["target"]), str(audit["measured"]), least, str(audit["below"])]
    yield Table("The same clip under a full audit of the recall", columns, [cells])


def _clip(clip: dict[str, Any]) -> str:
    width, height = clip["size"]
    return f"`{clip['model']}` at {clip['tokens']:,} tokens ({clip['frames']} frames of {width}x{height})"


def recall_headline(report: dict[str, Any]) -> tuple[str, str]:
    found = report["render"]
    what = f"Sparse attention at recall {found['full_audit']['target']}, a clip of {found['clip']['tokens']:,} tokens"
    speedup = found["policies"]["recall"]["speedup"]
    return what, f"{speedup:.2f}x as fast as dense attention, lowest recall {found['full_audit']['least']:.3f}"
