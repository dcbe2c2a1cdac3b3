"""`--like`: reasons why a repeated render may differ from the original."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from videogen.core.errors import InputError
from videogen.core.manifest import Manifest, collect_versions


def check_repeatable(like: Manifest, digest: str, options: argparse.Namespace) -> None:
    """InputError where the model's weights, or a file that the motion was read from, have changed since.

    digest: the loaded model's.
    """
    stored = str(like.model.get("hash"))
    if options.model is None and stored != digest:
        raise InputError(
            f"{like.model.get('name')} has other weights than when {options.like} was rendered ({stored[:8]} then, "
            f"{digest[:8]} now), so its frames cannot be reproduced; to render with the present weights, name the "
            "model with --model"
        )
    from videogen.core.files import digest as digest_file

    for name, stored_file in like.measured.get("motion", {}).get("files", {}).items():
        if digest_file(Path(name)) != stored_file:
            raise InputError(
                f"{name} has changed since {options.like} was rendered, so its frames cannot be reproduced; "
                "restore the file"
            )


def difference_notes(like: Manifest, name: Path) -> Iterator[str]:
    """Why the frames may differ all the same."""
    versions = collect_versions()
    changed = [
        f"{package} {version} (now {versions.get(package, 'not installed')})"
        for package, version in like.versions.items()
        if versions.get(package) != version
    ]
    if changed:
        yield f"{name} was rendered with {', '.join(changed)}: frames may differ in the last bit"
    if "batch" in like.measured:
        size = like.measured["batch"].get("size")
        yield f"{name} was rendered in a batch of {size}: alone, values may differ by 1 of 255"
    segments = like.measured.get("long", {}).get("segments", ())
    redone = [str(index) for index, segment in enumerate(segments) if segment.get("redone")]
    if redone:
        yield f"in {name} `story redo` regenerated these segments, which is not repeated: {', '.join(redone)}"
