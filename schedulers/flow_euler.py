"""Euler at even noise levels for flow-matching models, as few-step models are trained: ComfyUI's `euler` with `simple`.

diffusers' `FlowMatchEulerDiscreteScheduler` spreads its steps down to the last trained level, which it then shifts a
second time: four steps with a shift of 5 begin at 1, .91, .72 and .02. Distilled models are trained at the shifted
fractions of the steps: 1, .94, .83 and .63 (LightX2V, Wan2.2-Lightning).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler


class FlowMatchSimpleEulerScheduler(FlowMatchEulerDiscreteScheduler):
    """`FlowMatchEulerDiscreteScheduler` at sigmas of 1, (n - 1) / n, ..., 1 / n before the shift, unless some are
    given."""

    def set_timesteps(
        self, num_inference_steps: int | None = None, device: str | torch.device | None = None, **options: Any
    ) -> None:
        if num_inference_steps is not None and options.get("sigmas") is None and options.get("timesteps") is None:
            options["sigmas"] = np.linspace(1, 0, num_inference_steps + 1)[:-1]
        super().set_timesteps(num_inference_steps, device, **options)
