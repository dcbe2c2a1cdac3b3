"""Prediction extrapolation: the model does not run between key steps; its output minus its latents is cached.

As in EasyCache (Zhou et al. 2507.02860), but extrapolated linearly instead of held. Each key step can be compared with
the propagated prediction at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils import _pytree as tree

from .cut import Cut, Forward, ModelOutput
from .cut_state import CacheEntry
from .extrapolation import combine
from .predictor_kinds import PredictorKind
from .supervision import noisy_part


class OutputCut(Cut):
    """Caches (output - latents), or the output itself if the latents cannot be identified in the input."""

    name = "output"
    costs_nothing = True
    stateful = (*Cut.stateful, "_structure", "_latents")

    def __init__(self, order: int) -> None:
        super().__init__(order)
        self._entries: list[CacheEntry] = []
        self._structure: dict[str, tree.TreeSpec] = {}
        self._latents: dict[str, list[torch.Tensor]] = {}  # of the last key steps, newest first

    def entries(self) -> list[CacheEntry]:
        return self._entries

    def evaluate(
        self, branch: str, position: float, forward: Forward, latents: torch.Tensor
    ) -> tuple[ModelOutput, float | None]:
        expected = self.weights(branch, position) if self.ready(branch) else None
        with self._running("record", branch, ()):
            output = forward(1, None)
        leaves, self._structure[branch] = tree.tree_flatten(output)
        self._entries += [CacheEntry(self.order + 1) for _ in leaves[len(self._entries) :]]
        self._latents.setdefault(branch, []).insert(0, latents.clone() if self.copies else latents)
        del self._latents[branch][self.order + 1 :]
        for entry, leaf in zip(self._entries, leaves, strict=False):
            if expected is not None:
                newest = self._propagate(entry, branch, (1.0,), latents)
                self.state.compare(self._propagate(entry, branch, expected, latents), newest, leaf)
            entry.record(branch, leaf.clone() if self.copies else leaf)
        return output, self._note_key_step(branch, position)

    def replay(
        self,
        branch: str,
        positions: Sequence[float],
        forward: Forward,
        latents: torch.Tensor,
        timesteps: torch.Tensor | None = None,
    ) -> ModelOutput:
        weights = self.weights(branch, positions[0])
        leaves = [self._propagate(entry, branch, weights, latents) for entry in self._entries if branch in entry.values]
        return tree.tree_unflatten(leaves, self._structure[branch])

    def _propagate(
        self, entry: CacheEntry, branch: str, weights: tuple[float, ...], latents: torch.Tensor
    ) -> torch.Tensor:
        """The cached output, extrapolated, plus the change of the latents since."""
        cached, before = entry.values[branch], self._latents[branch]
        before = before[-len(cached) :] if len(before) > len(cached) else before
        output = combine(cached, weights)
        now, then = noisy_part(latents, cached[0]), noisy_part(combine(before, weights), cached[0])
        if now is None or then is None:
            return output.clone() if self.copies else output
        return output + (now - then).to(output.dtype)

    def drop_newest(self, branch: str) -> None:
        super().drop_newest(branch)
        del self._latents.get(branch, [])[:1]

    def forget(self, branch: str | None = None) -> None:
        super().forget(branch)
        self._latents.clear() if branch is None else self._latents.pop(branch, None)

    def close(self) -> None:
        self.forget()


def build_output_cut(model: object, numbers: tuple[int, ...], predictor: PredictorKind) -> OutputCut:
    """The builder of `output`."""
    return OutputCut(predictor.order)
