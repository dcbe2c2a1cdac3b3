"""Controllers of key steps: a list fixed before the run, or step-size control that keeps to a promised error.

The promise is about the relative L2 error e of the final latents. A propagated step adds an error to the predicted
clean latents, and a solver's step passes on a known fraction g of it (`NoiseLevel.step_gain`), so that to first order

    e <= factor * sum over propagated steps of g_i * error_i

error_i is measured at the key steps, where the fresh prediction is compared with the propagated one. It grows with the
distance from the last key step as distance^p in the log signal-to-noise ratio (p: order of the predictor + 1), like the
local error of a multistep solver. `factor` is calibrated (see `calibration`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

from videogen.schedulers.levels import NoiseLevel

_SMOOTHING = 0.5  # times the last rate is the least new rate
_PROPAGATED = 0.6  # fraction of steps that a good run propagates: the budget is divided among these
_LONGEST = 10  # propagated steps in a row
_FAR_ABOVE = 2.0  # ratio of measured to estimated rate from which a roll-back pays off


class Controller(Protocol):
    """Decides once per step, for all guidance branches together."""

    def start_span(self, key_step: int) -> None:
        """The next step propagates from this key step, which is not the last one if windows take turns."""
        ...

    def is_key_step(self, step: int) -> bool: ...

    def next_key_step(self, step: int) -> int | None:
        """The first key step after `step`; None if it is not known yet."""
        ...

    def note_error(self, step: int, error: float | None) -> None:
        """Learn from the error that propagation would have made at this key step; None if nothing was compared."""
        ...

    def expected_error(self, step: int) -> float | None:
        """The estimated error of propagation at this step; None if unknown."""
        ...

    def retract(self, step: int) -> None:
        """Turn this step, which was to be propagated, into a key step."""
        ...

    def roll_back_step(self, step: int, error: float | None) -> int | None:
        """The step to go back to if the error at a key step exceeds its estimate so far that the promise is at risk."""
        ...

    def roll_back(self, step: int, error: float) -> None:
        """Undo all steps from `step` on, which becomes a key step."""
        ...


class FixedKeySteps:
    """Key steps by a fixed list."""

    def __init__(self, key_steps: tuple[int, ...], steps: int) -> None:
        self._key_steps, self._steps = frozenset(key_steps), steps

    def start_span(self, key_step: int) -> None:
        pass

    def is_key_step(self, step: int) -> bool:
        return step in self._key_steps

    def next_key_step(self, step: int) -> int | None:
        return next((k for k in range(step + 1, self._steps) if k in self._key_steps), self._steps)

    def note_error(self, step: int, error: float | None) -> None:
        pass

    def expected_error(self, step: int) -> float | None:
        return None

    def retract(self, step: int) -> None:
        pass

    def roll_back_step(self, step: int, error: float | None) -> int | None:
        return None

    def roll_back(self, step: int, error: float) -> None:
        raise AssertionError("a fixed list never overshoots")


@dataclass
class ErrorControl:
    """Step-size control: propagate while the estimated error stays within the step's fraction of the budget.

    rate: error per distance^p. spent: the budget used by the steps propagated so far, estimated from the errors
    measured since.
    """

    max_error: float
    factor: float
    levels: list[NoiseLevel]
    order: int
    first: int
    last: int
    forced: set[int] = field(default_factory=set)
    rate: float | None = None
    spent: float = 0.0
    _key_step: int = 0
    # propagated since the last key step, each with the key step it starts from
    _span: list[tuple[int, int]] = field(default_factory=list)
    _estimated: float = 0.0  # error of the span, as estimated when its steps were decided

    @property
    def steps(self) -> int:
        return len(self.levels) - 1

    @property
    def budget(self) -> float:
        return self.max_error / self.factor

    def start_span(self, key_step: int) -> None:
        self._key_step = key_step

    def is_key_step(self, step: int) -> bool:
        if step < self.first or step >= self.steps - self.last or step in self.forced or self.rate is None:
            return True
        if step - self._key_step > _LONGEST:
            return True
        cost = self._cost(step, self._key_step, self.rate)
        left = self.budget - self.spent - self._estimated
        part = left / max(1.0, _PROPAGATED * (self.steps - self.last - step))
        if cost > min(part, left):
            return True
        self._span.append((step, self._key_step))
        self._estimated += cost
        return False

    def next_key_step(self, step: int) -> int | None:
        return None

    def note_error(self, step: int, error: float | None) -> None:
        distance = self._distance(step)
        if error is None or not math.isfinite(error):  # the rate is unknown: the next step is a key step too
            self.spent, self.rate = self.spent + self._estimated, None
        elif distance > 0:
            rate = error / distance ** (self.order + 1)
            self.spent += sum(self._cost(i, key_step, rate) for i, key_step in self._span)
            self.rate = max(rate, _SMOOTHING * self.rate) if self.rate is not None else rate
        self._key_step, self._span, self._estimated = step, [], 0.0

    def expected_error(self, step: int) -> float | None:
        return None if self.rate is None else self.rate * self._distance(step) ** (self.order + 1)

    def retract(self, step: int) -> None:
        if self._span and self._span[-1][0] == step and self.rate is not None:
            self._estimated -= self._cost(*self._span.pop(), self.rate)

    def roll_back_step(self, step: int, error: float | None) -> int | None:
        if error is None or not math.isfinite(error) or self.rate is None or not self._span:
            return None
        distance = self._distance(step)
        rate = error / max(distance, 1e-9) ** (self.order + 1)
        truth = self.spent + sum(self._cost(i, key_step, rate) for i, key_step in self._span)
        if rate < _FAR_ABOVE * self.rate or truth <= self.budget * (step + 1) / self.steps:
            return None
        return self._span[len(self._span) // 2][0]

    def roll_back(self, step: int, error: float) -> None:
        self.rate = error / max(self._distance_of(self._key_step, self._span[-1][0] + 1), 1e-9) ** (self.order + 1)
        self._span = [(i, key_step) for i, key_step in self._span if i < step]
        self._estimated = sum(self._cost(i, key_step, self.rate) for i, key_step in self._span)
        self.forced.add(step)

    def _cost(self, step: int, key_step: int, rate: float) -> float:
        gain = self.levels[step].step_gain(self.levels[step + 1])
        return gain * rate * self._distance_of(key_step, step) ** (self.order + 1)

    def _distance(self, step: int) -> float:
        return self._distance_of(self._key_step, step)

    def _distance_of(self, key_step: int, step: int) -> float:
        return abs(self.levels[step].log_snr - self.levels[key_step].log_snr)
