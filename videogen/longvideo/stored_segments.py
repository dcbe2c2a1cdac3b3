"""Which segments a run stores and which it resumes from: segments' memories are large, so most are evicted later."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from videogen.core.errors import MediaError

from .journal.journal import Journal
from .journal.records import SegmentRecord
from .segments import Segment

# Segments whose memory stays in the journal: the last ones, and of the others every so many.
_LAST, _EVERY = 2, 8


def first_to_render(segments: Sequence[Segment], journal: Journal | None) -> int:
    """The first segment that is not done, or after which a memory was evicted that a later one needs (one that was
    damaged)."""
    if journal is None:
        return 0
    index = done = min(len(journal), len(segments))
    while 0 < index < len(segments) and not segments[index].first and not journal.state(index - 1)["memory"]:
        index -= 1
    if index < done:
        journal.note(
            f"to resume, segments {index} to {done - 1} are rendered again for what they pass on; their latents stay"
        )
    return index


def store(record: SegmentRecord, journal: Journal) -> SegmentRecord:
    """The segment as the journal stores it; one that was there keeps its latents, which may have been regenerated."""
    if record.index < len(journal):
        old = journal.read(record.index)
        record = replace(record, latents=old.latents, state={**old.state, "memory": True})
        journal.replace(record)
    else:
        journal.append(record)
    _evict_memory(record.index - _LAST, journal)
    return record


def _evict_memory(index: int, journal: Journal) -> None:
    if index < 0 or index % _EVERY == 0 or not journal.state(index)["memory"]:
        return
    record = journal.read(index)
    if record.tensors:
        with suppress(MediaError):  # a full disk: the memory stays
            journal.replace(replace(record, tensors={}, state={**record.state, "memory": False}))
