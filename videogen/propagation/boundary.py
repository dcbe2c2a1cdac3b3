"""What of a model is evaluated at every step and what only at key steps: the interface of `unet`, `blocks` and
`output`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from .predictor import line_weights
from .stubs import Cell, Now

#: Runs the model's own forward: (copies of the batch, a timestep for each or None for the call's own) -> its output.
Forward = Callable[[int, "torch.Tensor | None"], Any]

_LEAST_TRUST = 0.05  # in a line: enough to see whether it would have done better


class Boundary(ABC):
    """One cut through one model, with what was kept at its key steps, for each guidance branch."""

    #: Whether predictions between keys depend on the current latents; where not, they can be made ahead, in one batch.
    reads_latents = True
    #: Whether a prediction between keys costs nothing, so that each key step can be checked against it.
    costs_nothing = False
    #: Whether a line is always followed whole, or as far as the last key step showed it to hold. Measured: cuts of a UNet
    #: gain by the latter (2 dB), outputs and blocks lose (4 dB), as a line that missed once still turns the right way.
    whole_lines = True

    def __init__(self, order: int) -> None:
        self.order, self.now = order, Now()
        self._points: dict[str, list[float]] = {}
        self._trust: dict[str, float] = {}

    @property
    @abstractmethod
    def name(self) -> str:
        """As `EncoderPropagation.boundary` spells it."""

    @abstractmethod
    def cells(self) -> list[Cell]:
        """All that is kept."""

    @abstractmethod
    def close(self) -> None:
        """The model is as it was before."""

    def ready(self, branch: str) -> bool:
        """Whether this branch has a key step to propagate from."""
        return bool(self._points.get(branch))

    def weights(self, branch: str, at: float) -> tuple[float, ...]:
        """Of the kept values, for a step at coordinate `at`."""
        return line_weights(self._points[branch][: self.order + 1], at, self._trust.get(branch, 1.0))

    def key(self, branch: str, at: float, forward: Forward, latents: torch.Tensor) -> tuple[Any, float | None]:
        """The model's output, evaluated whole, and by how much its kept features had drifted; keeps the fresh ones."""
        expected = (self.weights(branch, at),) if self.ready(branch) else ()
        with self._doing("record", branch, expected):
            output = forward(1, None)
        return output, self._learned(branch, at)

    def _learned(self, branch: str, at: float) -> float | None:
        """After a key step: its place is kept, and how far a line may be trusted until the next."""
        points = self._points.setdefault(branch, [])
        points.insert(0, at)
        del points[self.order + 1 :]
        reach = None if self.whole_lines else self.now.reach()
        if reach is not None:
            self._trust[branch] = min(1.0, max(_LEAST_TRUST, self._trust.get(branch, 1.0) * reach))
        return self.now.drift()

    def replay(
        self,
        branch: str,
        at: Sequence[float],
        forward: Forward,
        latents: torch.Tensor,
        timesteps: torch.Tensor | None = None,
    ) -> Any:
        """The output without the kept part: for this step, or, where latents are not read, for several steps in one
        batch."""
        with self._doing("replay", branch, tuple(self.weights(branch, x) for x in at)):
            return forward(len(at), timesteps)

    @contextmanager
    def _doing(self, mode: Any, branch: str, weights: tuple[tuple[float, ...], ...]) -> Iterator[None]:
        self.now.begin(mode, branch, weights)
        try:
            yield
        finally:
            self.now.mode = "off"

    def drop_newest(self, branch: str) -> None:
        """Undo the last key step of a branch, as far as what was before it is still kept."""
        del self._points.get(branch, [])[:1]
        for cell in self.cells():
            cell.drop_newest(branch)

    def forget(self, branch: str | None = None) -> None:
        """Nothing is kept any more, of one branch or of all."""
        for kept in (self._points, self._trust):
            kept.clear() if branch is None else kept.pop(branch, None)
        for cell in self.cells():
            cell.values.clear() if branch is None else cell.values.pop(branch, None)

    def kept_bytes(self) -> int:
        """Memory of what is kept, counting a tensor once."""
        tensors = {id(v): v for cell in self.cells() for values in cell.values.values() for v in values}
        return sum(v.numel() * v.element_size() for v in tensors.values())
