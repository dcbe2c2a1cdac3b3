"""Sources of a request's model: names that are valid from any working directory, revisions in a field of their own."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from videogen.backbones.checkpoints.names import resolve_name, split_revision
from videogen.backbones.load_options import COMPONENTS
from videogen.core.errors import InputError

if TYPE_CHECKING:
    from .request import RenderRequest

#: fields of a request that are stored only where they are set
SOURCE_FIELDS = ("base", "revision", *COMPONENTS)


def name_sources(request: RenderRequest) -> dict[str, str]:
    """The fields that change: paths made absolute, and `model="owner/name@revision"` divided into model and revision.

    InputError where the model's name and the field have different revisions.
    """
    found = {
        name: resolve_name(value)
        for name in ("base", *COMPONENTS)
        if isinstance(value := getattr(request, name), str | PathLike)
    }
    if isinstance(request.model, str):
        model, revision = split_revision(request.model)
        if revision is not None and request.revision not in (None, revision):
            raise InputError(
                f"model={request.model!r} and revision={request.revision!r} name two revisions; give one of them"
            )
        if revision is not None:
            found |= {"model": model, "revision": revision}
    return found


def requested_sources(request: RenderRequest) -> dict[str, str]:
    """The fields of sources that a request sets."""
    return {name: str(value) for name in SOURCE_FIELDS if (value := getattr(request, name)) is not None}
