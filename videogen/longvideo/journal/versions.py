"""Versions of a regenerated segment: each one that the video ever showed, so that any of them can be shown again.

Version 0 is the segment as it was first rendered, version N that of `redo`'s attempt N. A version is stored as segments
are (`records`), in `versions/N/` of the job's folder, without what the next segment needs: that never changes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .records import SegmentRecord, read_entry, read_segment, write_segment

VERSIONS_FOLDER = "versions"


def version_of(record: SegmentRecord) -> int:
    """Which version of its segment a record is."""
    return int(record.state.get("redone", 0))


def list_versions(folder: Path, index: int) -> list[int]:
    """The stored versions of a segment, in ascending order; none where it was never regenerated. folder: the job's."""
    found = (folder / VERSIONS_FOLDER).glob(f"*/{index:06d}.json")
    return sorted(int(path.parent.name) for path in found if path.parent.name.isdecimal())


def write_version(folder: Path, record: SegmentRecord, request: str) -> None:
    """Store a version; one of the same number is replaced. request: the job's digest. OSError is passed on."""
    place = folder / VERSIONS_FOLDER / str(version_of(record))
    place.mkdir(parents=True, exist_ok=True)
    named = write_segment(place, replace(record, tensors={}), request).file
    for path in place.glob(f"{record.index:06d}-*.safetensors"):
        if path.name != named:
            path.unlink()


def read_version(folder: Path, index: int, number: int, request: str) -> SegmentRecord | None:
    """A stored version; None where there is none. DamagedError where it is not as it was written."""
    place = folder / VERSIONS_FOLDER / str(number)
    entry = read_entry(place, index, request)
    return None if entry is None else read_segment(place, entry)
