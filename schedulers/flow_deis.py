"""DEIS for flow-matching models: diffusers' class, with sampling to the end.

`DEISMultistepScheduler` repeats its last flow sigma, so that its last step removes no noise: 0.5 of it is left at 10
steps with a shift of 3. Its formulas take logarithms of sigma, hence a small last sigma here instead of 0.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DEISMultistepScheduler

_LAST_SIGMA = 1e-5


class FlowDEISScheduler(DEISMultistepScheduler):
    """`DEISMultistepScheduler` with flow sigmas, the last of which is almost 0."""

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None, **options: Any) -> None:
        super().set_timesteps(num_inference_steps, device, **options)
        self.sigmas[-1] = _LAST_SIGMA
