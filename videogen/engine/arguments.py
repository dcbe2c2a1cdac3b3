"""Arguments of the engine's methods: objects of torch and pathlib as text, and what is no request refused."""

from __future__ import annotations

from os import PathLike, fspath

import torch

from videogen.core.errors import InputError
from videogen.request.request import RenderRequest
from videogen.request.resolved import ResolvedRequest


def object_name(value: str | torch.dtype | torch.device | None) -> str | None:
    """A dtype or device as a request names it."""
    return None if value is None else str(value).removeprefix("torch.")


def path_text(name: str | PathLike[str] | None) -> str | None:
    return None if name is None else fspath(name)


def check_request(request: object) -> None:
    if not isinstance(request, RenderRequest | ResolvedRequest):
        raise InputError(
            f"request={request!r} is not a RenderRequest; make one, or call generate() with a prompt and its options"
        )
