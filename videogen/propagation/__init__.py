"""Feature propagation over steps: the model is fully evaluated at key steps, and cached features are reused or
extrapolated at the steps between them. `attach` applies it to a model of diffusers, `PropagationRun` to any other.

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
    from .block_cut import BlockCut
    from .build_cut import build_host_cut
    from .config import EncoderPropagation, StepCaching
    from .denoiser_call import Decision
    from .handle import PropagationHandle, attach, detach
    from .run import PropagationRun
    from .run_schedule import RunSchedule

_HOMES = {
    "BlockCut": "block_cut", "Decision": "denoiser_call", "EncoderPropagation": "config", "PropagationHandle": "handle",
    "PropagationRun": "run", "RunSchedule": "run_schedule", "StepCaching": "config", "attach": "handle",
    "build_host_cut": "build_cut", "detach": "handle",
}  # fmt: skip

__all__ = [
    "BlockCut", "Decision", "EncoderPropagation", "PropagationHandle", "PropagationRun", "RunSchedule", "StepCaching",
    "attach", "build_host_cut", "detach",
]  # fmt: skip

__getattr__ = lazy(__name__, _HOMES)
