"""Tables of the benchmark of memory plans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .table import Table

_STAGES = ("text", "denoise", "decode")


def format_tables(report: dict[str, Any]) -> Iterator[Table]:
    ratios = [
        [name, stage, _ratio(row[stage], "peak_bytes"), _ratio(row[stage], "seconds")]
        for name, row in report["renders"].items()
        for stage in _STAGES
    ]
    yield Table("Planned / measured", ("model", "stage", "peak", "time"), ratios)
    planned = [
        [name, clip, *(f"{row['peak_gib'][stage]:.1f} GiB" for stage in _STAGES), f"{row['tflop_per_render']:,.0f}"]
        for name, shape in report["shapes"].items()
        for clip, row in shape["clips"].items()
    ]
    yield Table(
        "Published shapes in bf16, everything on the device",
        ("model", "clip", "text", "denoise", "decode", "Tflop per render"),
        planned,
    )
    yield Table(
        "What fits",
        ("model", "clip", "memory", "residency", "peak", "copied per step"),
        [
            [name, clip, f"{option['memory']}" + ("" if option["fits"] else ": does not fit"), option["residency"],
             f"{max(option['peak_gib'].values()):.1f} GiB", f"{option['copied_gib_per_step']:.1f} GiB"]
            for name, shape in report["shapes"].items()
            for clip, row in shape["clips"].items()
            for option in row["smallest"]
        ],
    )  # fmt: skip


def _ratio(row: dict[str, Any], figure: str) -> str:
    """Planned over measured; a dash where it was not measured."""
    measured = row.get(f"measured_{figure}")
    return f"{row[f'planned_{figure}'] / measured:.2f}" if measured else "-"
