"""Which part of a run a sampler has: of two samplers for high and low noise, each is given its own sigmas only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from videogen.core.errors import UnsupportedError
from videogen.propagation import StepCaching
from videogen.propagation.key_steps import PUBLISHED, published_key_steps

_HALVINGS = 30
#: of a run, in which neighbouring steps differ too much for one to follow from another
FEW_STEPS = 8


@dataclass(frozen=True)
class RunPart:
    """steps: of the sampler; first: the number of steps before its first one; total: of the run. The latter two are
    estimated from the model's own spacing of noise levels, where a sampler has a part of a run."""

    steps: int
    first: int
    total: int

    @classmethod
    def find(cls, sampling: Any, sigmas: Sequence[float]) -> RunPart:
        """sampling: ComfyUI's `model_sampling`; sigmas [steps + 1], falling."""
        steps = max(0, len(sigmas) - 1)
        if not steps or float(sigmas[0]) <= 0:
            return cls(0, 0, 0)
        begin, end = (_percent_at(sampling, float(sigma)) for sigma in (sigmas[0], sigmas[-1]))
        total = max(steps, round(steps / max(end - begin, 1e-3)))
        return cls(steps, min(total - steps, round(begin * total)), total)

    @property
    def is_partial(self) -> bool:
        """Whether other samplers have steps of the run. Some schedules begin about one step late."""
        return self.first > 1 or self.first + self.steps < self.total

    def key_steps_of(self, config: StepCaching) -> StepCaching:
        """The settings for this part: of a published list of key steps, those that lie in it. UnsupportedError for a
        run of few steps."""
        if self.total <= FEW_STEPS:
            raise UnsupportedError(
                f"a run of {self.total} steps is too short: neighbouring steps differ too much for one to follow from "
                "another, as they do with models for few steps; it helps from 15 steps on"
            )
        if not isinstance(config.keys, str) or config.keys not in PUBLISHED or self.total == self.steps:
            return config
        of_run = published_key_steps(config.keys, self.total)
        own = {step - self.first for step in of_run if self.first <= step < self.first + self.steps}
        return replace(config, keys=tuple(sorted({0, *own})))


def _percent_at(sampling: Any, sigma: float) -> float:
    """The fraction of a run at which its noise is down to this sigma."""
    if sigma <= 0:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if float(sampling.percent_to_sigma(middle)) >= sigma:
            low = middle
        else:
            high = middle
    return low
