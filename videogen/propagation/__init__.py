"""Feature propagation over steps: the model is fully evaluated at key steps, and cached features are reused or
extrapolated at the steps between them. `attach` applies it to a model.

    with attach(pipeline, StepCaching(max_error=0.02)) as handle:
        pipeline("a prompt")
        print(handle.report()["keys"])

It works on UNets and DiTs, in this engine's loop and in pipelines that the user drives, and knows no model family by
name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videogen.core.lazy import lazy

if TYPE_CHECKING:
    from .config import EncoderPropagation, StepCaching
    from .handle import PropagationHandle, attach, detach

_HOMES = {
    "EncoderPropagation": "config", "PropagationHandle": "handle", "StepCaching": "config", "attach": "handle",
    "detach": "handle",
}  # fmt: skip

__all__ = ["EncoderPropagation", "PropagationHandle", "StepCaching", "attach", "detach"]

__getattr__ = lazy(__name__, _HOMES)
