"""`--like`: reasons why a repeated render may differ from the original."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from videogen.core.errors import InputError
from videogen.core.files import digest, sha256
from videogen.core.manifest import Manifest, collect_versions
from videogen.request.request import RenderRequest


def check_motion_files(like: Manifest, name: Path) -> None:
    """InputError where a file that the motion was read from has changed since. name: the video to repeat."""
    for path, stored in like.measured.get("motion", {}).get("files", {}).items():
        if digest(Path(path)) != stored:
            raise InputError(
                f"{path} has changed since {name} was rendered, so its frames cannot be reproduced; restore the file"
            )


def check_condition_files(like: Manifest, request: RenderRequest, name: Path) -> None:
    """InputError where a file of the conditions that is used again is missing or has changed since. name: the video to
    repeat."""
    recorded = {one["file"]: one["sha256"] for one in like.measured.get("conditions", ()) if "file" in one}
    for _, _, _, value in request.given.items():
        if not isinstance(value, str) or value not in recorded:
            continue
        if not Path(value).exists():
            raise InputError(
                f"{value}, from which {name} was rendered, does not exist; restore it, or give another file"
            )
        if sha256(Path(value)) != recorded[value]:
            raise InputError(
                f"{value} has changed since {name} was rendered, so its frames cannot be reproduced; restore the file"
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
        size, propagation = like.measured["batch"].get("size"), RenderRequest.from_dict(like.request).propagation
        shared = propagation is not None and propagation.compares_batches  # by versions that rendered these as a batch
        differs = "the key steps are its own, and frames differ" if shared else "values may differ by 1 of 255"
        yield f"{name} was rendered in a batch of {size}: alone, {differs}"
    techniques = like.measured.get("techniques")
    if techniques:
        yield (
            f"{name} was rendered with techniques of its author ({', '.join(map(str, techniques))}), which --like does "
            "not repeat: the frames differ; render it from Python with techniques=[...]"
        )
    segments = like.measured.get("long", {}).get("segments", ())
    redone = [str(index) for index, segment in enumerate(segments) if segment.get("redone")]
    if redone:
        yield f"in {name} `story redo` regenerated these segments, which is not repeated: {', '.join(redone)}"
