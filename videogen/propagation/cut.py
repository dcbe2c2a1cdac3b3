"""Cut through a model: the part evaluated at every step, and the part whose features are cached at key steps.

The interface that `unet_cut`, `block_cut` and `output_cut` implement.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch

from .cut_state import CacheEntry, CutState, Mode, Weights
from .extrapolation import line_weights
from .run_state import copy_state, read_state, write_state

#: What a model's forward returns: a tensor, a tuple or one of diffusers' output classes.
ModelOutput: TypeAlias = Any
#: Runs the model's own forward: (copies of the batch, a timestep for each or None for the call's own) -> its output.
Forward = Callable[[int, "torch.Tensor | None"], ModelOutput]

_LEAST_TRUST = 0.05  # in the extrapolation: enough to measure whether more of it would be better


@dataclass(frozen=True)
class CutSnapshot:
    """State of a cut. values: of each entry, per branch; state: the attributes that `stateful` names."""

    values: list[dict[str, list[torch.Tensor]]]
    state: dict[str, Any]


class Cut(ABC):
    """One cut through one model, with the features cached at its key steps, per guidance branch.

    order: 0 holds the cached features between key steps, 1 extrapolates them linearly.
    """

    #: Whether predictions between key steps depend on the current latents; if not, they can be made ahead in one batch.
    reads_latents = True
    #: Whether a prediction between key steps costs nothing, so that each key step can be checked against it.
    costs_nothing = False
    #: Whether the linear extrapolation is always made in full, or only as far as it held at the last key step.
    #: Measured: UNet cuts gain from the latter (2 dB); outputs and blocks lose (4 dB), as an extrapolation that missed
    #: once still points in the right direction.
    full_lines = True
    #: Whether copies are cached, for hosts whose code writes into tensors that it has handed on.
    copies = False
    #: Attributes, per branch, on which later steps depend, beyond the entries.
    stateful: ClassVar[tuple[str, ...]] = ("_points", "_trust")

    def __init__(self, order: int) -> None:
        self.order, self.state = order, CutState()
        self._points: dict[str, list[float]] = {}  # of the last key steps, newest first
        self._trust: dict[str, float] = {}

    @property
    @abstractmethod
    def name(self) -> str:
        """As `StepCaching.boundary` spells it."""

    @abstractmethod
    def entries(self) -> list[CacheEntry]:
        """All cached features."""

    @abstractmethod
    def close(self) -> None:
        """Restore the model."""

    def ready(self, branch: str) -> bool:
        """Whether this branch has a key step to propagate from."""
        return bool(self._points.get(branch))

    def weights(self, branch: str, position: float) -> tuple[float, ...]:
        """Weights of the cached values for a step at this coordinate (see `RunSchedule.position`)."""
        return line_weights(self._points[branch][: self.order + 1], position, self._trust.get(branch, 1.0))

    def evaluate(
        self, branch: str, position: float, forward: Forward, latents: torch.Tensor
    ) -> tuple[ModelOutput, float | None]:
        """Evaluate a key step: the model's full output and the drift of the cached features. Caches the fresh ones."""
        expected = (self.weights(branch, position),) if self.ready(branch) else ()
        with self._running("record", branch, expected):
            output = forward(1, None)
        return output, self._note_key_step(branch, position)

    def _note_key_step(self, branch: str, position: float) -> float | None:
        """Store the coordinate of a key step and the trust in the extrapolation until the next. Returns the drift."""
        points = self._points.setdefault(branch, [])
        points.insert(0, position)
        del points[self.order + 1 :]
        followed = None if self.full_lines else self.state.followed_fraction()
        if followed is not None:
            self._trust[branch] = min(1.0, max(_LEAST_TRUST, self._trust.get(branch, 1.0) * followed))
        return self.state.drift()

    def replay(
        self,
        branch: str,
        positions: Sequence[float],
        forward: Forward,
        latents: torch.Tensor,
        timesteps: torch.Tensor | None = None,
    ) -> ModelOutput:
        """The output with the cached part propagated, for this step, or for several steps in one batch if the cut does
        not read the latents."""
        with self._running("replay", branch, tuple(self.weights(branch, position) for position in positions)):
            return forward(len(positions), timesteps)

    @contextmanager
    def _running(self, mode: Mode, branch: str, weights: Weights) -> Iterator[None]:
        self.state.begin(mode, branch, weights)
        try:
            yield
        finally:
            self.state.mode = "off"

    def drop_newest(self, branch: str) -> None:
        """Undo the last key step of a branch, as far as the one before it is still cached."""
        del self._points.get(branch, [])[:1]
        for entry in self.entries():
            entry.drop_newest(branch)

    def forget(self, branch: str | None = None) -> None:
        """Empty the cache, of one branch or of all."""
        for stored in (self._points, self._trust):
            stored.clear() if branch is None else stored.pop(branch, None)
        for entry in self.entries():
            entry.forget(branch)

    def snapshot(self) -> CutSnapshot:
        """All that later steps depend on; the tensors are shared, since none is written into."""
        return CutSnapshot([copy_state(entry.values) for entry in self.entries()], read_state(self, self.stateful))

    def restore(self, snapshot: CutSnapshot) -> None:
        """Go back to a snapshot of this cut; it can be restored again."""
        write_state(self, snapshot.state)
        for index, entry in enumerate(self.entries()):  # entries are added during a run, never removed
            entry.values = copy_state(snapshot.values[index]) if index < len(snapshot.values) else {}

    def cached_bytes(self) -> int:
        """Memory of the cached features, counting a tensor once."""
        tensors = {id(v): v for entry in self.entries() for values in entry.values.values() for v in values}
        return sum(v.numel() * v.element_size() for v in tensors.values())
