"""Videos longer than a model's native clip: segments, how they are joined, the journal that makes a render resumable.

`segments` divides a timeline; `journal` keeps finished segments on disk. Use `Engine.render_long` to render one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.lazy import lazy

if TYPE_CHECKING:
    from .journal.job import job_folder, read_request
    from .journal.journal import Journal
    from .journal.records import Chunk

_HOMES = {
    "Chunk": "journal.records",
    "Journal": "journal.journal",
    "job_folder": "journal.job",
    "read_request": "journal.job",
}

__all__ = [
    "Chunk",
    "Journal",
    "job_folder",
    "read_request",
]

__getattr__ = lazy(__name__, _HOMES)
