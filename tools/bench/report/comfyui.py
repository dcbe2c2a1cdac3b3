"""Tables of the benchmarks of the ComfyUI nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .table import ABSENT, Table, percent


def overhead_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = [
        [
            name,
            percent(row["overhead"], 1),
            f"{row['plain_step_cpu_ms']:.0f} ms",
            "yes" if row["bit_identical"] else "no",
        ]
        for name, row in report["rows"].items()
    ]
    caption = f"Overhead at the exact setting, {report['frames']} frames of {report['side_px']} px"
    yield Table(caption, ("node", "added to a step", "step without it", "bit-identical"), rows)


def promise_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = [
        [
            row["sampler"], str(row["steps"]), f"`{row['rule']}`" if ":" in row["rule"] else row["rule"],
            f"{row['evaluated_steps']:.1f}", percent(row["error"], 1), percent(row["worst_error"], 1),
            ABSENT if row["within"] is None else percent(row["within"]),
        ]
        for row in report["rows"]
    ]  # fmt: skip
    columns = ("sampler", "steps", "rule", "evaluated", "median error", "worst error", "within the bound")
    yield Table(f"Propagation node, {report['renders']} prompts each", columns, rows)
