"""A repository on the hub, at a revision, and its files in the local cache. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .names import join_revision


class HubId(str):
    """`owner/name`, which it is as a text; revision: branch, tag or commit (None: the main branch)."""

    revision: str | None

    def __new__(cls, name: str, revision: str | None = None) -> HubId:
        made = super().__new__(cls, name)
        made.revision = revision
        return made

    @property
    def pinned(self) -> str:
        """`owner/name@revision`."""
        return join_revision(str(self), self.revision)


def revision_option(source: object) -> dict[str, Any]:
    """The revision as the libraries take it; nothing for a folder, and for the main branch."""
    revision = getattr(source, "revision", None)
    return {} if revision is None else {"revision": revision}


def find_cached(hub_id: str, file: str) -> Path | None:
    """A file of a hub repository in the local cache; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(hub_id), file, **revision_option(hub_id))
    return Path(found) if isinstance(found, str) else None
