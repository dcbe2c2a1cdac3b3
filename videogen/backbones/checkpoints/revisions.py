"""Revisions of what a model is loaded from on the hub: recorded as commits, and used again. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..load_options import COMPONENTS
from .names import join_revision, split_revision

if TYPE_CHECKING:
    from .sources import ModelSources


def collect_revisions(sources: ModelSources) -> dict[str, str]:
    """Field of a request (`model`, `base`, a component) -> commit that it was loaded from, of those on the hub.

    Read after loading, since the local cache then has them.
    """
    from ..hub import commit_of
    from .location import locate
    from .names import HubId

    named = {"model": join_revision(sources.name, sources.place.revision), **sources.recorded}
    named.pop("revision", None)
    places = {name: locate(source) for name, source in named.items()}
    found = {name: commit_of(source) for name, source in places.items() if isinstance(source, HubId)}
    return {name: commit for name, commit in found.items() if commit is not None}


def pin_sources(request: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a recorded request that lead to the commits it was rendered with. recorded: the manifest's
    `model`."""
    commits = recorded.get("revisions")
    if not isinstance(commits, Mapping):
        return {}
    found: dict[str, str] = {}
    for name, commit in commits.items():
        given = request.get(name)
        if name == "model":
            found["revision"] = str(commit)
        elif name in ("base", *COMPONENTS) and isinstance(given, str):
            found[name] = join_revision(split_revision(given)[0], str(commit))
    return found
