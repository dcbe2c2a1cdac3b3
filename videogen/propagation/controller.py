"""Which steps are keys: a list made before the run, or decided while it runs so that a promised error is held.

The promise is the relative L2 error e of the final latents. A step that propagates adds an error of the clean latents
it predicts, and a solver's step takes over a known part g of that (`NoiseLevel.step_gain`), so that to first order

    e <= factor * sum over propagated steps of g_i * error_i

error_i is measured at the key steps, where the fresh prediction can be held against what propagation would have given,
and grows from a key as distance^p in the log signal-to-noise ratio (p: the predictor's order + 1), as the local error
of a multistep solver does. `factor` is calibrated (see `calibration`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

from videogen.schedulers.levels import NoiseLevel

_SMOOTHING = 0.5  # of the last rate, where the new one is less
_SKIPPED = 0.6  # the share of steps that a good run propagates: the budget is divided among these
_LONGEST = 10  # steps of a span
_FAR_ABOVE = 2.0  # measured over estimated, from which a roll-back pays


class Controller(Protocol):
    """Decides once a step, for all guidance branches together."""

    def stands_on(self, key: int) -> None:
        """The step that is asked about next goes on from this key, where that is not the last one: its windows are
        others'."""
        ...

    def is_key(self, step: int) -> bool: ...

    def next_key(self, step: int) -> int | None:
        """The first key after `step`, where it is known already."""
        ...

    def measured(self, step: int, error: float | None) -> None:
        """The error that propagation would have made at this key step; None where nothing was there to compare."""
        ...

    def expected(self, step: int) -> float | None:
        """The error that propagation is estimated to make at this step."""
        ...

    def retract(self, step: int) -> None:
        """This step was to be propagated, and is a key after all."""
        ...

    def overshot(self, step: int, error: float | None) -> int | None:
        """The step to go back to, where a key's error is so far above its estimate that the promise is at risk."""
        ...

    def rolled_back(self, step: int, error: float) -> None:
        """The run goes on from before `step`, which becomes a key; what came after did not happen."""
        ...


class FixedKeys:
    """A list of steps."""

    def __init__(self, keys: tuple[int, ...], steps: int) -> None:
        self._keys, self._steps = frozenset(keys), steps

    def stands_on(self, key: int) -> None:
        pass

    def is_key(self, step: int) -> bool:
        return step in self._keys

    def next_key(self, step: int) -> int | None:
        return next((k for k in range(step + 1, self._steps) if k in self._keys), self._steps)

    def measured(self, step: int, error: float | None) -> None:
        pass

    def expected(self, step: int) -> float | None:
        return None

    def retract(self, step: int) -> None:
        pass

    def overshot(self, step: int, error: float | None) -> int | None:
        return None

    def rolled_back(self, step: int, error: float) -> None:
        raise AssertionError("a fixed list never overshoots")


@dataclass
class ErrorControl:
    """Step-size control: propagate while the estimate of what that adds stays within its share of the budget."""

    max_error: float
    factor: float
    levels: list[NoiseLevel]
    order: int
    first: int
    last: int
    forced: set[int] = field(default_factory=set)
    rate: float | None = None
    spent: float = 0.0  # of the budget: estimated error of what was propagated so far, by what was measured since
    _key: int = 0
    _span: list[tuple[int, int]] = field(
        default_factory=list
    )  # propagated since the last key, each with the key it goes on from
    _estimated: float = 0.0  # error of those, as it was estimated when they were decided

    @property
    def steps(self) -> int:
        return len(self.levels) - 1

    @property
    def budget(self) -> float:
        return self.max_error / self.factor

    def stands_on(self, key: int) -> None:
        self._key = key

    def is_key(self, step: int) -> bool:
        if step < self.first or step >= self.steps - self.last or step in self.forced or self.rate is None:
            return True
        if step - self._key > _LONGEST:
            return True
        cost = self._cost(step, self._key, self.rate)
        left = self.budget - self.spent - self._estimated
        share = left / max(1.0, _SKIPPED * (self.steps - self.last - step))
        if cost > min(share, left):
            return True
        self._span.append((step, self._key))
        self._estimated += cost
        return False

    def next_key(self, step: int) -> int | None:
        return None

    def measured(self, step: int, error: float | None) -> None:
        distance = self._distance(step)
        if error is None or not math.isfinite(error):  # nothing is known of what comes: the next step is a key too
            self.spent, self.rate = self.spent + self._estimated, None
        elif distance > 0:
            rate = error / distance ** (self.order + 1)
            self.spent += sum(self._cost(i, key, rate) for i, key in self._span)
            self.rate = max(rate, _SMOOTHING * self.rate) if self.rate is not None else rate
        self._key, self._span, self._estimated = step, [], 0.0

    def expected(self, step: int) -> float | None:
        return None if self.rate is None else self.rate * self._distance(step) ** (self.order + 1)

    def retract(self, step: int) -> None:
        if self._span and self._span[-1][0] == step and self.rate is not None:
            self._estimated -= self._cost(*self._span.pop(), self.rate)

    def overshot(self, step: int, error: float | None) -> int | None:
        if error is None or not math.isfinite(error) or self.rate is None or not self._span:
            return None
        distance = self._distance(step)
        rate = error / max(distance, 1e-9) ** (self.order + 1)
        truth = self.spent + sum(self._cost(i, key, rate) for i, key in self._span)
        if rate < _FAR_ABOVE * self.rate or truth <= self.budget * (step + 1) / self.steps:
            return None
        return self._span[len(self._span) // 2][0]

    def rolled_back(self, step: int, error: float) -> None:
        self.rate = error / max(self._distance_of(self._key, self._span[-1][0] + 1), 1e-9) ** (self.order + 1)
        self._span = [(i, key) for i, key in self._span if i < step]
        self._estimated = sum(self._cost(i, key, self.rate) for i, key in self._span)
        self.forced.add(step)

    def _cost(self, step: int, key: int, rate: float) -> float:
        gain = self.levels[step].step_gain(self.levels[step + 1])
        return gain * rate * self._distance_of(key, step) ** (self.order + 1)

    def _distance(self, step: int) -> float:
        return self._distance_of(self._key, step)

    def _distance_of(self, key: int, step: int) -> float:
        return abs(self.levels[step].log_snr - self.levels[key].log_snr)
