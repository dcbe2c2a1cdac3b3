"""Re-noising loops: a loop that predicts the clean clip and adds fresh noise to it itself, without a scheduler (Echo).

Its last block does what elsewhere is a scheduler's step, so the host suspends it as it suspends a step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from .lent_loop import STEP, StepCall


class RenoisingScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Stands for the scheduler of a pipeline without one: what its model predicts, and nominal timesteps."""

    order = 1

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, prediction_type: str = "sample") -> None:
        self.timesteps: torch.Tensor | None = None

    def set_timesteps(self, steps: int, device: Any = None) -> None:
        self.timesteps = torch.linspace(1.0, 1.0 / steps, steps, device=device)

    def step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> tuple[torch.Tensor]:
        """The clean clip: the pipeline adds the noise itself."""
        return (model_output,)


def suspend_step(block: Any, prediction: str, state: str, ask: Callable[[str, Any], Any]) -> Any:
    """A copy of a re-noising block whose call the engine answers. prediction, state: the attributes of the block
    state with the clean clip and the latents."""
    kind: Any = type(block)
    real = kind.__call__

    def call(self: Any, components: Any, block_state: Any, **place: Any) -> Any:
        def step(model_output: torch.Tensor, sample: torch.Tensor) -> Any:
            setattr(block_state, prediction, model_output)
            setattr(block_state, state, sample)
            return real(self, components, block_state, **place)

        given = inspect.signature(step).bind(getattr(block_state, prediction), getattr(block_state, state))
        return ask(STEP, StepCall(None, step, given))

    block.__class__ = type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
    return block
