"""Encoder propagation: some steps are evaluated whole, between them features are kept. `attach` ties it to a model.

    with attach(pipeline, EncoderPropagation(max_error=0.02)) as handle:
        pipeline("a prompt")
        print(handle.report()["keys"])

For UNets and DiTs, in this engine's loop and in pipelines that the user drives. Knows no model family by name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attaching import Handle, attach
    from .config import EncoderPropagation

_HOMES = {"EncoderPropagation": "config", "Handle": "attaching", "attach": "attaching"}

__all__ = ["EncoderPropagation", "Handle", "attach"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
