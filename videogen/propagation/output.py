"""The lightest boundary: nothing of the model runs between key steps. What is kept is its output less its latents.

As EasyCache has it (Zhou et al. 2507.02860), but continued along its line, not held. Each key step can be checked
against what propagation would have given, at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as tree

from .boundary import Boundary, Forward
from .predictor import combine
from .stubs import Cell
from .supervision import noisy_part


class WholeOutput(Boundary):
    """Keeps (output - latents), or the output itself where the latents cannot be told from the input."""

    name = "output"
    costs_nothing = True

    def __init__(self, order: int) -> None:
        super().__init__(order)
        self._cells: list[Cell] = []
        self._spec: dict[str, Any] = {}
        self._entered: dict[str, list[torch.Tensor]] = {}

    def cells(self) -> list[Cell]:
        return self._cells

    def key(self, branch: str, at: float, forward: Forward, latents: torch.Tensor) -> tuple[Any, float | None]:
        expected = self.weights(branch, at) if self.ready(branch) else None
        with self._doing("record", branch, ()):
            output = forward(1, None)
        leaves, self._spec[branch] = tree.tree_flatten(output)
        self._cells += [Cell(self.order + 1) for _ in leaves[len(self._cells) :]]
        self._entered.setdefault(branch, []).insert(0, latents)
        del self._entered[branch][self.order + 1 :]
        for cell, leaf in zip(self._cells, leaves, strict=False):
            if expected is not None:
                newest = self._propagated(cell, branch, (1.0,), latents)
                self.now.compare(self._propagated(cell, branch, expected, latents), newest, leaf)
            cell.record(branch, leaf)
        return output, self._learned(branch, at)

    def replay(
        self,
        branch: str,
        at: Sequence[float],
        forward: Forward,
        latents: torch.Tensor,
        timesteps: torch.Tensor | None = None,
    ) -> Any:
        weights = self.weights(branch, at[0])
        leaves = [self._propagated(cell, branch, weights, latents) for cell in self._cells if branch in cell.values]
        return tree.tree_unflatten(leaves, self._spec[branch])

    def _propagated(self, cell: Cell, branch: str, weights: tuple[float, ...], latents: torch.Tensor) -> torch.Tensor:
        """The kept output moved along, and by as much as the latents have moved since."""
        kept = cell.values[branch]
        entered = (
            self._entered[branch][-len(kept) :] if len(self._entered[branch]) > len(kept) else self._entered[branch]
        )
        output = combine(kept, weights)
        now, then = noisy_part(latents, kept[0]), noisy_part(combine(entered, weights), kept[0])
        return output if now is None or then is None else output + (now - then).to(output.dtype)

    def drop_newest(self, branch: str) -> None:
        super().drop_newest(branch)
        del self._entered.get(branch, [])[:1]

    def forget(self, branch: str | None = None) -> None:
        super().forget(branch)
        self._entered.clear() if branch is None else self._entered.pop(branch, None)

    def close(self) -> None:
        self.forget()
