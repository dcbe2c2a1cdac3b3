"""Encoder propagation: some steps are evaluated whole, between them features are kept. `attach` ties it to a model.

    with attach(pipeline, EncoderPropagation(max_error=0.02)) as handle:
        pipeline("a prompt")
        print(handle.report()["keys"])

For UNets and DiTs, in this engine's loop and in pipelines that the user drives. Knows no model family by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.lazy import lazy

if TYPE_CHECKING:
    from .attaching import Handle, attach
    from .config import EncoderPropagation

_HOMES = {"EncoderPropagation": "config", "Handle": "attaching", "attach": "attaching"}

__all__ = ["EncoderPropagation", "Handle", "attach"]

__getattr__ = lazy(__name__, _HOMES)
