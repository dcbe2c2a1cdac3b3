"""`videogen inspect`: a video's manifest, printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from videogen.core.errors import InputError
from videogen.core.manifest import Manifest

from .text import printable
from .types import Json


def run(options: argparse.Namespace) -> int:
    from videogen.media.metadata import read_manifest

    values = read_manifest(options.file)
    if values is None:
        raise InputError(f"{options.file} has no videogen manifest; it was made or re-encoded by another program")
    manifest = Manifest.from_dict(values)
    if options.json:
        print(json.dumps(manifest.to_dict(), indent=2, ensure_ascii=False))
        return 0
    request = {name: value for name, value in manifest.request.items() if value is not None}
    if "story" in request:
        request["story"] = f"{len(request['story']['shots'])} shots (videogen story show {options.file})"
    _print_section("request", request)
    _print_section("model", manifest.model)
    _print_section("versions", manifest.versions)
    measured = {
        f"{part} {name}": value
        for part, figures in manifest.measured.items()
        for name, value in summarize(part, figures).items()
    }
    _print_section("measured", measured)
    _print_section("output", manifest.output)
    _print_section("seconds", manifest.timings_s)
    print(f"\nplan  {len(manifest.plan)} steps (all of them with --json)")
    return 0


def _print_section(title: str, values: Mapping[str, object]) -> None:
    if values:
        print(f"\n{title}" if title != "request" else title)
        width = max(map(len, values))
        for name, value in values.items():
            print(f"  {name:<{width}}  {printable(value)}")


def summarize(part: str, figures: object) -> dict[str, object]:
    """The single figures of a part of the measurements; its tables are for `--json` and `--report`."""
    if part in ("loras", "embeddings") and isinstance(figures, list):
        return {one["name"]: describe_adaptation(one) for one in figures}
    if isinstance(figures, list):
        return {"": len(figures)}
    if not isinstance(figures, dict):
        return {"": figures}
    if part == "long":
        return summarize_long(figures)
    if part == "no_effect":
        return dict(figures)
    return {name: value for name, value in figures.items() if not isinstance(value, list | dict) or name == "promised"}


def describe_adaptation(record: Json) -> str:
    """A LoRA or textual inversion in a line: its weight and where it is on, or its token, and its digest."""
    digest = f"sha256 {record['sha256'][:8]}"
    if "token" in record:
        return f"token {record['token']}, {record['vectors']} vectors, {digest}"
    span = (
        "" if (record["start"], record["end"]) == (0, 1) else f" in {record['start']:g}-{record['end']:g} of the steps"
    )
    expert = f" {record['expert']} noise" if record.get("expert") else ""
    return f"weight {record['weight']:g}{expert}{span}, {sum(record['layers'].values())} layers, {digest}"


def summarize_long(figures: Json) -> dict[str, object]:
    """How a long video's clips are joined, and its faults."""
    report = figures["report"]
    found: dict[str, object] = {"continuity": figures["continuity"]["policy"], "segments": len(figures["segments"])}
    if trial := figures.get("trial"):
        ratios = {name: row["seam_ratio"] for name, row in trial["policies"].items()}
        found["trial"] = ", ".join(
            f"{name} {'no joins' if ratio is None else f'{ratio:.2f}'}" for name, ratio in ratios.items()
        )
    for shot in figures.get("motion", {}).get("shots", ()):
        found[f"motion of shot {shot['shot']}"] = motion_error(shot)
    return {**found, "median seam ratio": report["median_ratio"], "faults": ", ".join(report["faults"]) or "none"}


def motion_error(shot: Json) -> str:
    """A shot's mean motion error and its target; the error of the measurement itself where it is known."""
    floor = f", measurement error {shot['floor_px']:.2f}" if "floor_px" in shot else ""
    return f"error {shot['error_px']:.2f} px/frame (target motion {shot['target_px']:.2f}{floor})"
