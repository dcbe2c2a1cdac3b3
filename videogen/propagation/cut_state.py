"""Feature cache of one cut: the values at its last key steps, and whether its layers record or replay them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from .extrapolation import combine

Mode = Literal["off", "record", "replay"]
#: Weights of the cached values, newest first: one tuple per copy of the batch.
Weights = tuple[tuple[float, ...], ...]


@dataclass
class CutState:
    """The mode of the layers of one cut in the present call.

    branch: the guidance branch whose features are recorded or replayed. weights: those of `replay`; in `record` those
    that a propagated step would have used, for comparison. The sums run over all features recorded in the call:
    squared_error of (expected - fresh), squared_size of fresh, projection of (fresh - newest) onto the extrapolated
    change (expected - newest), and squared_length of that change.
    """

    mode: Mode = "off"
    branch: str = ""
    weights: Weights = ()
    squared_error: float | torch.Tensor = 0.0
    squared_size: float | torch.Tensor = 0.0
    projection: float | torch.Tensor = 0.0
    squared_length: float | torch.Tensor = 0.0

    def begin(self, mode: Mode, branch: str, weights: Weights) -> None:
        self.mode, self.branch, self.weights = mode, branch, weights
        self.squared_error = self.squared_size = self.projection = self.squared_length = 0.0

    def compare(self, expected: torch.Tensor, newest: torch.Tensor, fresh: torch.Tensor) -> None:
        """Add one feature: its propagated value, its value at the last key step, and its fresh value."""
        change, real_change = (expected - newest).float(), (fresh - newest).float()
        self.squared_error = self.squared_error + (change - real_change).square().sum()
        self.squared_size = self.squared_size + fresh.float().square().sum()
        self.projection = self.projection + (change * real_change).sum()
        self.squared_length = self.squared_length + change.square().sum()

    def drift(self) -> float | None:
        """Relative L2 error of the features as propagated; None if nothing was compared."""
        size = float(self.squared_size)
        return (float(self.squared_error) / size) ** 0.5 if size > 0 else None

    def followed_fraction(self) -> float | None:
        """The fraction of the extrapolated change that the features followed; None if nothing was extrapolated."""
        length = float(self.squared_length)
        return float(self.projection) / length if length > 0 else None


@dataclass
class CacheEntry:
    """The last `depth` values of one feature, newest first, per guidance branch."""

    depth: int
    values: dict[str, list[torch.Tensor]] = field(default_factory=dict)

    def record(self, branch: str, value: torch.Tensor) -> None:
        cached = self.values.setdefault(branch, [])
        cached.insert(0, value)
        del cached[self.depth :]

    def predict(self, branch: str, weights: tuple[float, ...]) -> torch.Tensor:
        return combine(self.values[branch], weights)

    def drop_newest(self, branch: str) -> None:
        del self.values.get(branch, [])[:1]

    def forget(self, branch: str | None = None) -> None:
        """Drop the values of one branch, or of all."""
        self.values.clear() if branch is None else self.values.pop(branch, None)
