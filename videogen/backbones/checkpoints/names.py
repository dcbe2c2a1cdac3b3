"""Names of model sources: a folder, a file, or a repository on the hub at a revision, with its local cache. No torch
here."""

from __future__ import annotations

import re
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from videogen.core.errors import InputError

#: ends of the names of weights files that are loaded
WEIGHTS = (".safetensors", ".gguf")
#: `owner/name`, or a file of a repository, `owner/name/folder/file.safetensors`
_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+(/[\w.-]+)*")
_REVISION = re.compile(r"[\w./-]+")


def split_revision(name: str) -> tuple[str, str | None]:
    """(hub id, revision) of `owner/name@revision`; the name itself and None where it has no revision, or is a path.

    InputError for a revision that is not a branch, a tag or a commit.
    """
    repository, at, revision = name.rpartition("@")
    if not at or not _HUB.fullmatch(repository) or repository.startswith(".") or is_present(name):
        return name, None
    if not _REVISION.fullmatch(revision):
        raise InputError(f"model={name!r} has the revision {revision!r}; give a branch, a tag or a commit after the @")
    return repository, revision


def join_revision(repository: str, revision: str | None) -> str:
    """`owner/name@revision`; the repository alone without a revision."""
    return repository if revision is None else f"{repository}@{revision}"


def resolve_name(name: str | PathLike[str]) -> str:
    """A source's name that is valid from any working directory: the path of a file or folder is made absolute."""
    text = fspath(name)
    return str(Path(text).expanduser().absolute()) if is_present(text) else text


def is_present(name: str) -> bool:
    """Whether a name is that of a file or folder on this machine."""
    try:
        return bool(name.strip()) and Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, with NUL, or of an unknown user
        return False


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
