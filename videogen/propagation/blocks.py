"""Boundaries through a transformer: front blocks run at every step, the middle's change is kept, the tail runs again.

    between keys:  h_front -> h_front + (h_out - h_in of the last keys) -> tail -> output

so that the current latents enter through the front, which serves as probe too. Blocks are found by the names that the
library gives its lists of blocks, and by the order in which they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from videogen.core.errors import InputError, UnsupportedError

from .boundary import Boundary, Forward
from .predictor import combine, probe_gain
from .stubs import Cell, Replaced, Uncopied

_LISTS = (
    "blocks", "transformer_blocks", "single_transformer_blocks", "layers", "visual_transformer_blocks", "temporal_transformer_blocks",
)  # fmt: skip


def block_lists(model: nn.Module) -> list[nn.Module]:
    """The blocks of a transformer; empty where it has none that this file knows."""
    lists = [child for name, child in model.named_children() if name in _LISTS and isinstance(child, nn.ModuleList)]
    return [block for blocks in lists for block in blocks]


class MiddleBlocks(Boundary):
    """Keeps what the blocks between the first `front` and the last `tail` add. Raises UnsupportedError, InputError."""

    def __init__(self, model: nn.Module, front: int, tail: int, order: int, probe: bool) -> None:
        super().__init__(order)
        blocks = block_lists(model)
        if not blocks:
            raise UnsupportedError(f"{type(model).__name__} has no list of blocks to cut; use boundary 'output'")
        if front < 0 or tail < 0 or front + tail >= len(blocks):
            raise InputError(
                f"blocks:{front},{tail} leaves nothing of {len(blocks)} blocks of {type(model).__name__} to keep"
            )
        self.front, self.tail, self.probe, self.count = front, tail, probe, len(blocks)
        self.entry: tuple[torch.Tensor, ...] = ()  # what came into the first block of the middle, in this call
        self.ran = 0  # blocks that were called so far, in this call
        # Of each branch, since windows differ in length, and streams are told by their shapes:
        self.places: dict[str, list[int]] = {}  # of the token streams among that block's inputs
        self.exit: dict[str, int] = {}  # which block is the last of the middle
        self._fresh: tuple[torch.Tensor, ...] = ()
        self._inputs: list[Cell] = []
        self._outputs: list[Cell] = []
        self._stubs = [_Block(block, self) for block in blocks]

    @property
    def name(self) -> str:
        return f"blocks:{self.front},{self.tail}"

    def cells(self) -> list[Cell]:
        return [*self._inputs, *self._outputs]

    def key(self, branch: str, at: float, forward: Forward, latents: torch.Tensor) -> tuple[Any, float | None]:
        self.ran, self._fresh = 0, ()
        expected = (self.weights(branch, at),) if self.ready(branch) else ()
        with self._doing("record", branch, expected):
            output = forward(1, None)
        if not self._fresh:
            raise UnsupportedError(
                "no block after the front gives what came into it, so nothing can be kept; use boundary 'output'"
            )
        self._keep(branch)
        return output, self._learned(branch, at)

    def replay(
        self,
        branch: str,
        at: Sequence[float],
        forward: Forward,
        latents: torch.Tensor,
        timesteps: torch.Tensor | None = None,
    ) -> Any:
        self.ran = 0
        return super().replay(branch, at, forward, latents, timesteps)

    def enter(self, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> None:
        """At a key step: what came into the middle's first block; its streams are the inputs that its outputs carry
        on."""
        places = [i for i in same_shapes(outputs, inputs) if i is not None]
        self.places[self.now.branch], self.entry = places, tuple(inputs[i] for i in places)

    def leave(self, index: int, outputs: Sequence[torch.Tensor]) -> None:
        """At a key step: what a block of the middle gave; the last that carries on all streams is the middle's end."""
        found = [outputs[i] for i in same_shapes(self.entry, outputs) if i is not None]
        if self.entry and len(found) == len(self.entry):
            self._fresh, self.exit[self.now.branch] = tuple(found), index

    def _keep(self, branch: str) -> None:
        self._inputs += [Cell(self.order + 1) for _ in self.entry[len(self._inputs) :]]
        self._outputs += [Cell(self.order + 1) for _ in self.entry[len(self._outputs) :]]
        if self.now.weights:
            held = self.propagated(branch, (1.0,))
            for guess, newest, fresh in zip(self.propagated(branch), held, self._fresh, strict=True):
                self.now.compare(guess, newest, fresh)
        for cell, value in zip(self.cells(), (*self.entry, *self._fresh), strict=True):
            cell.record(branch, value)
        self.entry = self._fresh = ()

    def propagated(self, branch: str, weights: tuple[float, ...] | None = None) -> tuple[torch.Tensor, ...]:
        """What the middle would give for the present entry: the kept outputs, moved as far as the entry has moved."""
        weights, found = self.now.weights[0] if weights is None else weights, []
        for entry, before, after in zip(self.entry, self._inputs, self._outputs, strict=True):
            inputs, outputs = before.values[branch], after.values[branch]
            if self.probe and len(inputs) > 1 and len(weights) > 1:
                gain = probe_gain(entry, inputs[0], inputs[1])
                change = ((outputs[0] - inputs[0]) - (outputs[1] - inputs[1])) * gain
                found.append(outputs[0] + (entry - inputs[0]) + change)
            else:
                found.append(combine(outputs, weights) + (entry - combine(inputs, weights)))
        return tuple(found)

    def close(self) -> None:
        for stub in self._stubs:
            stub.close()
        self._stubs.clear()


@dataclass
class _Blank:
    """A tensor of an output that nobody reads between keys."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    def make(self) -> torch.Tensor:
        return torch.zeros(1, dtype=self.dtype, device=self.device).expand(self.shape)


class _Block(Uncopied):
    """One transformer block: runs, or stands in for itself."""

    def __init__(self, module: nn.Module, owner: MiddleBlocks) -> None:
        self._owner, self._many = owner, True
        self._forms: dict[str, tuple[Any, ...]] = {}
        self._replaced = Replaced(module, self._forward)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        owner = self._owner
        if owner.now.mode == "off":
            return self._replaced.original(*args, **kwargs)
        index, owner.ran = owner.ran, owner.ran + 1
        inputs = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
        branch = owner.now.branch
        if owner.now.mode == "replay" and owner.front <= index <= owner.exit.get(branch, -1):
            if index == owner.front:
                owner.entry = tuple(inputs[i] for i in owner.places[branch])
            return self._stand_in(owner.propagated(branch) if index == owner.exit[branch] else ())
        output = self._replaced.original(*args, **kwargs)
        if owner.now.mode == "record" and owner.front <= index < owner.count - owner.tail:
            self._many = isinstance(output, tuple | list)
            parts = tuple(output) if self._many else (output,)
            self._forms[branch] = tuple(
                _Blank(p.shape, p.dtype, p.device) if isinstance(p, torch.Tensor) else p for p in parts
            )
            tensors = [p for p in parts if isinstance(p, torch.Tensor)]
            if index == owner.front:
                owner.enter(inputs, tensors)
            owner.leave(index, tensors)
        return output

    def _stand_in(self, streams: tuple[torch.Tensor, ...]) -> Any:
        """An output of this block's form, with `streams` where their shapes fit."""
        left, parts = list(streams), []
        for part in self._forms[self._owner.now.branch]:
            fits = next((i for i, s in enumerate(left) if isinstance(part, _Blank) and s.shape == part.shape), None)
            parts.append(left.pop(fits) if fits is not None else part.make() if isinstance(part, _Blank) else part)
        return tuple(parts) if self._many else parts[0]

    def close(self) -> None:
        self._replaced.close()


def same_shapes(wanted: Sequence[torch.Tensor], given: Sequence[torch.Tensor]) -> list[int | None]:
    """For each wanted tensor, the place of the first of the given ones that has its shape and is not yet taken."""
    left, found = list(range(len(given))), []
    for tensor in wanted:
        place = next((i for i in left if given[i].shape == tensor.shape), None)
        found.append(place)
        if place is not None:
            left.remove(place)
    return found
