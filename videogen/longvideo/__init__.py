"""Videos longer than a model's native clip: continuity policies, segments, and the journal that makes them resumable.

`policies` divide a timeline into segments; `journal` stores finished ones on disk. Use `Engine.render_long` to render.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.lazy import lazy

if TYPE_CHECKING:
    from .journal.job import job_folder, read_request
    from .journal.journal import Journal
    from .journal.records import SegmentRecord

_HOMES = {
    "Journal": "journal.journal",
    "SegmentRecord": "journal.records",
    "job_folder": "journal.job",
    "read_request": "journal.job",
}

__all__ = [
    "Journal",
    "SegmentRecord",
    "job_folder",
    "read_request",
]

__getattr__ = lazy(__name__, _HOMES)
