"""Tables of the LoRA benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .table import Table


def swap_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = [
        [
            name, str(row["layers"]), f"{row['apply_ms']:.0f} ms", f"{row['remove_ms']:.0f} ms",
            f"{row['step']:.2f}", f"{row['fused_step']:.2f}",
        ]
        for name, row in report["models"].items()
    ]  # fmt: skip
    columns = ("model", "layers", "put on", "taken off", "time of a step", "fused")
    yield Table("LoRAs of random matrices", columns, rows)
