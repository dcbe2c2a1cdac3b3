"""Tables of the quantization benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .table import Table, percent


def format_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = [
        [
            row["name"], f"{row['bytes'] / 1e6:.2f} MB", percent(row["fraction"]),
            f"{row['psnr_db']:.1f} dB", f"{row['least_psnr_db']:.1f} dB",
        ]
        for row in report["rows"]
    ]  # fmt: skip
    columns = ("weights", "size", "of fp32", "PSNR", "lowest PSNR")
    yield Table(f"`{report['model']}`, {report['steps']} steps, {report['rows'][0]['clips']} clips", columns, rows)
