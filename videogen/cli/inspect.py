"""`videogen inspect`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from videogen.core.errors import InputError
from videogen.core.manifest import Manifest

from .text import printable


def run(options: argparse.Namespace) -> int:
    from videogen.media.metadata import read_manifest

    values = read_manifest(options.file)
    if values is None:
        raise InputError(f"{options.file} carries no videogen manifest; it was made or re-encoded by something else")
    manifest = Manifest.from_dict(values)
    if options.json:
        print(json.dumps(manifest.to_dict(), indent=2, ensure_ascii=False))
        return 0
    request = {k: v for k, v in manifest.request.items() if v is not None}
    if "story" in request:
        request["story"] = f"{len(request['story']['shots'])} shots (videogen story show {options.file})"
    _section("request", request)
    _section("model", manifest.model)
    _section("versions", manifest.versions)
    _section(
        "measured",
        {f"{what} {k}": v for what, figures in manifest.measured.items() for k, v in _brief(what, figures).items()},
    )
    _section("output", manifest.output)
    _section("seconds", manifest.timings_s)
    print(f"\nplan  {len(manifest.plan)} steps (all with --json)")
    return 0


def _section(title: str, values: Mapping[str, object]) -> None:
    if values:
        print(f"\n{title}" if title != "request" else title)
        width = max(map(len, values))
        for name, value in values.items():
            print(f"  {name:<{width}}  {printable(value)}")


def _brief(what: str, figures: object) -> dict[str, object]:
    """Single figures of a measurement; its tables are for `--json` and `--report`."""
    if isinstance(figures, list):
        return {"": len(figures)}
    if not isinstance(figures, Mapping):
        return {"": figures}
    if what == "long":
        return _long(figures)
    return {name: value for name, value in figures.items() if not isinstance(value, list | dict) or name == "promised"}


def _long(figures: Mapping[str, Any]) -> dict[str, object]:
    """Of a long video: how it hangs together, and what is wrong with it."""
    report = figures["report"]
    told = {"continuity": figures["continuity"]["policy"], "segments": len(figures["segments"])}
    if trial := figures.get("trial"):
        ratios = {name: row["seam_ratio"] for name, row in trial["policies"].items()}
        told["tried"] = ", ".join(
            f"{name} {'no joins' if ratio is None else f'{ratio:.2f}'}" for name, ratio in ratios.items()
        )
    for shot in figures.get("motion", {}).get("shots", ()):
        floor = f" (floor {shot['floor_px']:.2f})" if "floor_px" in shot else ""
        told[f"motion of shot {shot['shot']}"] = f"{shot['error_px']:.2f} px a frame off {shot['target_px']:.2f}{floor}"
    return {**told, "median seam ratio": report["median_ratio"], "faults": ", ".join(report["faults"]) or "none"}
