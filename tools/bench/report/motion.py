"""Figures of motion control."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.bench.report.table import ABSENT, Table, percent

CONTROL_PX = {
    "place_px": "distance to the path",
    "final_px": "distance at the last frame",
    "move_px": "path error from the object's own start",
    "end_px": "end error from its own start",
}


def control_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = []
    for name, row in report["methods"].items():
        method, _, strength = name.partition(" at strength ")
        errors = [f"{row[key]['median']:.1f}" if key in row else ABSENT for key in CONTROL_PX]
        rows.append([method, strength or ABSENT, f"{row['visible']} of {row['clips']}", *errors])
    columns = ("method", "strength", "clips with a visible object", *(f"{label}, px" for label in CONTROL_PX.values()))
    caption = f"`{report['model']}`, {report['prompts']} drags in frames of {report['frame_px']} px, medians"
    yield Table(caption, columns, rows)


def camera_tables(report: dict[str, Any]) -> Iterator[Table]:
    rows = []
    for name, row in report["cameras"].items():
        camera, _, backend = name.rpartition(", by ")
        errors = [_camera_error(row, part) for part in ("pan", "tilt", "zoom")]
        rows.append([camera, backend, f"{row['measurable']} of {row['clips']}", *errors])
    columns = ("camera", "backend", "measurable clips", "pan error", "tilt error", "zoom error")
    yield Table(f"`{report['model']}`, cameras over textures, median relative errors", columns, rows)


def _camera_error(row: dict[str, Any], part: str) -> str:
    if part not in row["target"]:
        return ABSENT
    if part not in row["relative_error"]:
        return "not measurable"
    vae = f" (VAE alone {percent(row['vae_error'][part])})" if part in row["vae_error"] else ""
    return percent(row["relative_error"][part]) + vae


def composed_tables(report: dict[str, Any]) -> Iterator[Table]:
    medians = report["medians"]
    visible = f"{report['visible']} of {report['clips']}"
    row = [
        visible,
        *(f"{medians[key]:.2f}" if key in medians else ABSENT for key in ("place_px", "final_px", "overlap")),
    ]
    columns = (
        "clips with a visible object", "distance to the path, px", "distance at the last frame, px",
        "overlap of the outline with the best shape",
    )  # fmt: skip
    caption = f"`{report['model']}`, drags under a moving camera in frames of {report['frame_px']} px, medians"
    yield Table(caption, columns, [row])


def transfer_tables(report: dict[str, Any]) -> Iterator[Table]:
    drivers = report["drivers"]
    strengths = list(next(iter(drivers.values())))
    rows = []
    for name, row in drivers.items():
        errors = [f"{row[strength]['error_px']:.2f}" for strength in strengths]
        rows.append([name, *errors, f"{row[strengths[0]]['static_error_px']:.2f}"])
    columns = ("driving clip", *strengths, "a static clip")
    yield Table(f"`{report['model']}`, flow error of transferred motion in px per frame", columns, rows)


def control_headline(report: dict[str, Any]) -> tuple[str, str]:
    dual, free = (report["methods"][name]["place_px"]["median"] for name in ("dual clock at strength 1", "no control"))
    what = f"Distance of a dragged object from its path, in frames of {report['frame_px']} px"
    return what, f"{dual:.1f} px with dual clock, {free:.1f} px without control"
