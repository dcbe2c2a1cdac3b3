"""Seams at the two joins of one segment, as a manifest has them, before and after the segment was changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from videogen.metrics.seams import Seam

Seams = Mapping[str, Seam | None]  # by "start" and "end"


def join_seams(manifest: Mapping[str, Any], index: int) -> Seams:
    """The seams at the start and the end of segment `index`; None where there is no join, or where it was not measured
    (at a cut, or within a few frames of the video's ends)."""
    long = manifest.get("measured", {}).get("long") or {}
    rows, report = long.get("segments", []), long.get("report") or {}
    seams = {seam["frame"]: Seam(**seam) for seam in report.get("seams", ())}
    first, after = (rows[at]["first_frame"] if 0 <= at < len(rows) else None for at in (index, index + 1))
    return {"start": seams.get(first) if index else None, "end": seams.get(after)}


def seam_notes(index: int, before: Seams, after: Seams) -> Iterator[str]:
    """A note for each join of segment `index` that has a fault which it did not have before."""
    for name, seam in after.items():
        was = before.get(name)
        new = [] if seam is None else [fault for fault in seam.faults() if was is None or fault not in was.faults()]
        if seam is not None and new:
            earlier = "" if was is None else f", was {was.ratio:.2f}"
            yield (
                f"the join at the {name} of segment {index}, before frame {seam.frame}, is visible ({', '.join(new)}; "
                f"seam ratio {seam.ratio:.2f}{earlier}): try another attempt, or restore an earlier one"
            )
