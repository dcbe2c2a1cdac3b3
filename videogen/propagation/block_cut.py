"""Split points of a transformer: front and tail blocks run at every step, the change by the middle blocks is cached.

    between key steps:  h_front -> h_front + (h_out - h_in of the last key steps) -> tail -> output

The current latents enter through the front, which also serves as a probe. Blocks are found by the names that diffusers
gives to its lists of blocks, and by the order in which they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from videogen.core.attachment import ForwardAttachment
from videogen.core.errors import InputError, UnsupportedError

from .cut import Cut, Forward, ModelOutput
from .cut_state import CacheEntry
from .extrapolation import combine, probe_gain
from .predictor_kinds import PredictorKind

_LISTS = (
    "blocks", "transformer_blocks", "single_transformer_blocks", "layers", "visual_transformer_blocks",
    "temporal_transformer_blocks",
)  # fmt: skip


def block_lists(model: nn.Module) -> list[nn.Module]:
    """The blocks of a transformer; empty if no list of blocks has a known name."""
    lists = [child for name, child in model.named_children() if name in _LISTS and isinstance(child, nn.ModuleList)]
    return [block for blocks in lists for block in blocks]


class BlockCut(Cut):
    """Caches the change by the blocks between the first `front` and the last `tail`.

    Raises UnsupportedError if no blocks are found, InputError if none are left to cache.
    """

    stateful = (*Cut.stateful, "stream_places", "exit")

    def __init__(self, model: nn.Module, front: int, tail: int, order: int, probe: bool) -> None:
        super().__init__(order)
        blocks = block_lists(model)
        if not blocks:
            raise UnsupportedError(f"{type(model).__name__} has no list of blocks to cut; use boundary 'output'")
        if front < 0 or tail < 0 or front + tail >= len(blocks):
            raise InputError(
                f"blocks:{front},{tail} leaves nothing of {len(blocks)} blocks of {type(model).__name__} to cache"
            )
        self.front, self.tail, self.probe, self.count = front, tail, probe, len(blocks)
        self.entry: tuple[torch.Tensor, ...] = ()  # input streams of the first middle block, in this call
        self.called = 0  # blocks called so far, in this call
        # Per branch, since windows differ in length, and streams are identified by their shapes:
        self.stream_places: dict[str, list[int]] = {}  # of the token streams among the inputs of the first middle block
        self.exit: dict[str, int] = {}  # index of the last middle block
        self._fresh: tuple[torch.Tensor, ...] = ()
        self._inputs: list[CacheEntry] = []
        self._outputs: list[CacheEntry] = []
        self._blocks = [_CachedBlock(block, self) for block in blocks]

    @property
    def name(self) -> str:
        return f"blocks:{self.front},{self.tail}"

    def entries(self) -> list[CacheEntry]:
        return [*self._inputs, *self._outputs]

    def evaluate(
        self, branch: str, position: float, forward: Forward, latents: torch.Tensor
    ) -> tuple[ModelOutput, float | None]:
        self.called, self._fresh = 0, ()
        expected = (self.weights(branch, position),) if self.ready(branch) else ()
        with self._running("record", branch, expected):
            output = forward(1, None)
        if not self._fresh:
            raise UnsupportedError(
                "no block after the front returns the streams it was given, so nothing can be cached; "
                "use boundary 'output'"
            )
        self._record(branch)
        return output, self._note_key_step(branch, position)

    def replay(
        self,
        branch: str,
        positions: Sequence[float],
        forward: Forward,
        latents: torch.Tensor,
        timesteps: torch.Tensor | None = None,
    ) -> ModelOutput:
        self.called = 0
        return super().replay(branch, positions, forward, latents, timesteps)

    def enter(self, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> None:
        """Note the first middle block of a key step; its streams are the inputs that its outputs continue."""
        places = [i for i in match_shapes(outputs, inputs) if i is not None]
        self.stream_places[self.state.branch], self.entry = places, tuple(inputs[i] for i in places)

    def leave(self, index: int, outputs: Sequence[torch.Tensor]) -> None:
        """Note a middle block of a key step; the last one that continues all streams ends the middle."""
        found = [outputs[i] for i in match_shapes(self.entry, outputs) if i is not None]
        if self.entry and len(found) == len(self.entry):
            self._fresh, self.exit[self.state.branch] = tuple(found), index

    def _record(self, branch: str) -> None:
        self._inputs += [CacheEntry(self.order + 1) for _ in self.entry[len(self._inputs) :]]
        self._outputs += [CacheEntry(self.order + 1) for _ in self.entry[len(self._outputs) :]]
        if self.state.weights:
            last = self.propagate(branch, (1.0,))
            for expected, newest, fresh in zip(self.propagate(branch), last, self._fresh, strict=True):
                self.state.compare(expected, newest, fresh)
        for entry, value in zip(self.entries(), (*self.entry, *self._fresh), strict=True):
            entry.record(branch, value)
        self.entry = self._fresh = ()

    def propagate(self, branch: str, weights: tuple[float, ...] | None = None) -> tuple[torch.Tensor, ...]:
        """The middle's output for the present entry: the cached outputs, changed as much as the entry has changed."""
        weights, found = self.state.weights[0] if weights is None else weights, []
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
        for block in self._blocks:
            block.detach()
        self._blocks.clear()


@dataclass
class _Blank:
    """A tensor of an output that no block reads between key steps."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    def tensor(self) -> torch.Tensor:
        return torch.zeros(1, dtype=self.dtype, device=self.device).expand(self.shape)


class _CachedBlock(ForwardAttachment):
    """One transformer block, which either runs or returns the propagated streams."""

    kind = "propagation"

    def __init__(self, module: nn.Module, cut: BlockCut) -> None:
        self._cut, self._returns_many = cut, True
        self._forms: dict[str, tuple[object, ...]] = {}
        super().__init__(module)

    def forward(self, *args: object, **kwargs: object) -> object:
        cut = self._cut
        if cut.state.mode == "off":
            return self.original(*args, **kwargs)
        index, cut.called = cut.called, cut.called + 1
        inputs = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
        branch = cut.state.branch
        if cut.state.mode == "replay" and cut.front <= index <= cut.exit.get(branch, -1):
            if index == cut.front:
                cut.entry = tuple(inputs[i] for i in cut.stream_places[branch])
            return self._replayed_output(cut.propagate(branch) if index == cut.exit[branch] else ())
        output = self.original(*args, **kwargs)
        if cut.state.mode == "record" and cut.front <= index < cut.count - cut.tail:
            self._record(index, inputs, output)
        return output

    def _record(self, index: int, inputs: list[torch.Tensor], output: object) -> None:
        cut = self._cut
        self._returns_many = isinstance(output, tuple | list)
        parts = tuple(output) if isinstance(output, tuple | list) else (output,)
        self._forms[cut.state.branch] = tuple(
            _Blank(p.shape, p.dtype, p.device) if isinstance(p, torch.Tensor) else p for p in parts
        )
        tensors = [p for p in parts if isinstance(p, torch.Tensor)]
        if index == cut.front:
            cut.enter(inputs, tensors)
        cut.leave(index, tensors)

    def _replayed_output(self, streams: tuple[torch.Tensor, ...]) -> object:
        """An output in the form of this block's, with `streams` put where their shapes fit."""
        left, parts = list(streams), []
        for part in self._forms[self._cut.state.branch]:
            fits = next((i for i, s in enumerate(left) if isinstance(part, _Blank) and s.shape == part.shape), None)
            parts.append(left.pop(fits) if fits is not None else part.tensor() if isinstance(part, _Blank) else part)
        return tuple(parts) if self._returns_many else parts[0]


def match_shapes(wanted: Sequence[torch.Tensor], given: Sequence[torch.Tensor]) -> list[int | None]:
    """For each wanted tensor, the index of the first given one of its shape that is not matched yet."""
    left, found = list(range(len(given))), []
    for tensor in wanted:
        place = next((i for i in left if given[i].shape == tensor.shape), None)
        found.append(place)
        if place is not None:
            left.remove(place)
    return found


def build_block_cut(model: nn.Module, numbers: tuple[int, ...], predictor: PredictorKind) -> BlockCut:
    """The builder of `blocks:FRONT,TAIL`."""
    front, tail = numbers
    return BlockCut(model, front, tail, predictor.order, probe=predictor.probes)
