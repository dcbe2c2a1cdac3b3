"""Step counter: the denoising step and the call within it, inferred from the timesteps that a model is called with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class StepCounter:
    """Counts steps from the timesteps of a pipeline's model calls; all experts share one counter.

    A new value is a new step, a change of direction a new run. The timesteps of most models fall, those of some (Mochi)
    rise: the second value shows which.
    """

    timestep: float | None = None
    shape: tuple[int, ...] | None = None
    upwards: bool | None = None
    step: int = 0
    calls: int = 0

    def count(self, timestep: float | None, shape: tuple[int, ...] | None) -> bool:
        """Count a call. Returns whether a new run begins with it."""
        if self.timestep is None or timestep is None or shape != self.shape or self._turns(timestep):
            self.step, self.calls, self.upwards = 0, 0, None
            self.timestep, self.shape = timestep, shape
            return True
        if timestep == self.timestep:
            self.calls += 1
            return False
        self.upwards = timestep > self.timestep
        self.step, self.calls, self.timestep = self.step + 1, 0, timestep
        return False

    def _turns(self, timestep: float) -> bool:
        assert self.timestep is not None
        return self.upwards is not None and timestep != self.timestep and (timestep > self.timestep) != self.upwards
