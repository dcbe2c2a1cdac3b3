"""A repository on the hub, at a revision. No torch here."""

from __future__ import annotations

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
