"""`videogen inspect`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

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
    _section("request", {k: v for k, v in manifest.request.items() if v is not None})
    _section("model", manifest.model)
    _section("versions", manifest.versions)
    _section("measured", {f"{what} {k}": v for what, figures in manifest.measured.items() for k, v in _brief(figures).items()})
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


def _brief(figures: object) -> dict[str, object]:
    """Single figures of a measurement; its tables are for `--json` and `--report`."""
    if not isinstance(figures, Mapping):
        return {"": figures}
    return {name: value for name, value in figures.items() if not isinstance(value, list | dict) or name == "promised"}
