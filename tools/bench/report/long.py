"""Figures of long videos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.bench.report.table import ABSENT, Table, percent


def policy_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = []
    for name, row in report["policies"].items():
        rows.append(
            [
                name, *_seam_cells(row), percent(row["colour_accuracy"]), percent(row["shape_accuracy"]),
                f"{row['motion']:.2f}", f"{row['flow']:.2f}" if "flow" in row else
                ABSENT, percent(row["dynamic"]) if "dynamic" in row else ABSENT, percent(row["frozen"]),
                f"{row['drift_de']:.1f}", f"{row['similarity']:.2f}", f"{row['cost']:.2f}x",
            ]
        )  # fmt: skip
    if "single_clip" in report:
        single = report["single_clip"]
        accuracy = [percent(value) for value in single["accuracy"]]
        empty = [ABSENT] * 4
        rows.append(["a single clip", ABSENT, ABSENT, *accuracy, ABSENT, ABSENT, percent(single["dynamic"]), *empty])
    columns = (
        "policy", "seam ratio", "seams over 1.25", "colour accuracy", "shape accuracy", "motion", "flow", "dynamic",
        "frozen", "drift, dE", "similarity", "cost",
    )  # fmt: skip
    yield Table(f"`{report['model']}`, {report['clips']} prompts, {report['frames']} frames", columns, rows)


def _seam_cells(row: dict[str, Any]) -> tuple[str, str]:
    """The seam ratio and the fraction of visible joins, where the clips had joins."""
    if row["seam_ratio"] is None:
        return ABSENT, ABSENT
    return f"{row['seam_ratio']:.2f}", percent(row["seams_over_limit"])


def length_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = []
    for frames, row in report["runs"].items():
        trend = ABSENT if row["slope"] is None else f"{100 * row['slope']:+.1f} %"
        rows.append([frames, f"{row['peak_bytes'] / 2**20:.0f} MiB", trend])
    columns = ("frames", "peak memory", "time per segment, last third against first")
    yield Table(f"`{report['model']}`", columns, rows)
    growth, repeats = report["growth"], report["repeats"]
    rows = [
        ["peak memory, long over short", f"{report['memory_ratio']:.3f}"],
        ["peak memory of the long video, end over start, median", f"{growth['median']:.3f}"],
        ["the same, worst", f"{growth['worst']:.3f}"],
    ]
    runs = "one process each" if repeats == 1 else f"{repeats} processes each"
    yield Table(f"`{report['model']}`, {runs}", ("ratio", "value"), rows)


def kill_tables(report: dict[str, Any]) -> Iterator[Table]:
    columns = ("kills", "finished files", "segments resumed", "faults")
    cells = [str(report["kills"]), str(report["finished"]), str(report["resumed"]), str(len(report["faults"]))]
    yield Table(f"Renders of {report['segments']} segments", columns, [cells])


def story_tables(report: dict[str, Any]) -> Iterator[Table]:
    delay = report["delay_frames"]
    columns = ("colour changes after", "motion changes after", "shape accuracy")
    cells = [f"{delay['colour']:.0f} frames", f"{delay['motion']:.0f} frames", percent(report["shape_accuracy"])]
    yield Table(
        f"`{report['model']}`, {report['clips']} stories, a window of {report['window']} frames", columns, [cells]
    )


def first_frame_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = []
    for frames, row in report["lengths"].items():
        single, default = row["single_pass"], row["default"]
        rows.append(
            [frames, f"{single['first']} of {report['clips']}", percent(single["frames"]), str(row["segments"]),
             f"{default['first']} of {report['clips']}", percent(default["frames"])]
        )  # fmt: skip
    columns = (
        "frames", "one pass: first frame", "one pass: all frames", "segments by default", "default: first frame",
        "default: all frames",
    )  # fmt: skip
    yield Table(f"`{report['model']}`, {report['native']} frames natively", columns, rows)


def policy_headline(report: dict[str, Any]) -> tuple[str, str]:
    what = f"Visible seams of videos of {report['frames']} frames, joined by `clean_prefix`"
    return what, f"seam ratio {_seam_cells(report['policies']['clean_prefix'])[0]} (1 = invisible)"
