"""Table of the benchmark of kernel validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .table import Table, percent


def cost_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = [
        [
            name, f"{row['first']['render_cpu_s']:.1f} s", str(row["first"]["compared"]),
            f"{row['first']['checks_cpu_s'] * 1e3:.0f} ms", percent(row["first"]["fraction"], 1),
            percent(row["second"]["fraction"], 1),
        ]
        for name, row in report["rows"].items()
    ]  # fmt: skip
    columns = ("clip", "CPU time of a render", "calls compared", "checks", "of the first render", "of the next one")
    yield Table("Kernel validation", columns, rows)
