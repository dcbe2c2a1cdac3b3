"""Split points of a transformer: front and tail blocks run at every step, the change by the middle blocks is cached.

    between key steps:  h_front -> h_front + (h_out - h_in of the last key steps) -> tail -> output

The current latents enter through the front, which also serves as a probe. Each block is a tap: its index, its input
streams, and what runs it. A host calls `BlockCut.tap` in place of each block; `attached_block_cut` does so for the
models of diffusers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from videogen.core.errors import InputError, UnsupportedError

from .cut import Cut, Forward, ModelOutput
from .cut_state import CacheEntry
from .extrapolation import combine, probe_gain
from .output_form import OutputForm
from .predictor_kinds import PredictorKind


class BlockCut(Cut):
    """Caches the change by the blocks between the first `front` and the last `tail` of `count`.

    order: of the extrapolation; probe: its length is measured on the front. model: its name, for messages. Raises
    InputError if no blocks are left to cache.
    """

    stateful = (*Cut.stateful, "stream_places", "exit")

    def __init__(
        self, count: int, front: int, tail: int, order: int, probe: bool = False, model: str = "the model"
    ) -> None:
        super().__init__(order)
        if front < 0 or tail < 0 or front + tail >= count:
            raise InputError(f"blocks:{front},{tail} leaves nothing of {count} blocks of {model} to cache")
        self.front, self.tail, self.probe, self.count = front, tail, probe, count
        self.entry: tuple[torch.Tensor, ...] = ()  # input streams of the first middle block, in this call
        self.called = 0  # blocks called so far, in this call
        # Per branch, since windows differ in length, and streams are identified by their shapes:
        self.stream_places: dict[str, list[int]] = {}  # of the token streams among the inputs of the first middle block
        self.exit: dict[str, int] = {}  # index of the last middle block
        self._fresh: tuple[torch.Tensor, ...] = ()
        self._inputs: list[CacheEntry] = []
        self._outputs: list[CacheEntry] = []
        self._forms: dict[tuple[int, str], OutputForm] = {}  # by block and branch

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

    def tap(self, inputs: Sequence[torch.Tensor], run: Callable[[], Any], index: int | None = None) -> Any:
        """The output of one block: of `run()`, or the propagated streams in the same form.

        inputs: the tensors that the block is given, its token streams among them. run: the block itself, which returns
        a tensor or a tuple. index: of the block, in the order in which they run; None: counted.
        """
        if self.state.mode == "off":
            return run()
        index = self.called if index is None else index
        self.called, branch = index + 1, self.state.branch
        if self.state.mode == "replay" and self.front <= index <= self.exit.get(branch, -1):
            if index == self.front:
                self.entry = tuple(inputs[i] for i in self.stream_places[branch])
            return self._forms[index, branch].fill(self.propagate(branch) if index == self.exit[branch] else ())
        if self.copies and self.state.mode == "record" and index == self.front:
            inputs = [x.clone() for x in inputs]
        output = run()
        if self.state.mode == "record" and self.front <= index < self.count - self.tail:
            self._record_block(index, inputs, output)
        return output

    def _record_block(self, index: int, inputs: Sequence[torch.Tensor], output: Any) -> None:
        form = self._forms[index, self.state.branch] = OutputForm(output)
        tensors = [part for part in form.parts_of(output) if isinstance(part, torch.Tensor)]
        if index == self.front:
            self._enter(inputs, tensors)
        self._leave(index, tensors)

    def _enter(self, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> None:
        """Note the first middle block of a key step; its streams are the inputs that its outputs continue."""
        places = [i for i in match_shapes(outputs, inputs) if i is not None]
        self.stream_places[self.state.branch], self.entry = places, tuple(inputs[i] for i in places)

    def _leave(self, index: int, outputs: Sequence[torch.Tensor]) -> None:
        """Note a middle block of a key step; the last one that continues all streams ends the middle."""
        found = [outputs[i] for i in match_shapes(self.entry, outputs) if i is not None]
        if self.entry and len(found) == len(self.entry):
            copied = [stream.clone() for stream in found] if self.copies else found
            self._fresh, self.exit[self.state.branch] = tuple(copied), index

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
        self.forget()


def match_shapes(wanted: Sequence[torch.Tensor], given: Sequence[torch.Tensor]) -> list[int | None]:
    """For each wanted tensor, the index of the first given one of its shape that is not matched yet."""
    left, found = list(range(len(given))), []
    for tensor in wanted:
        place = next((i for i in left if given[i].shape == tensor.shape), None)
        found.append(place)
        if place is not None:
            left.remove(place)
    return found


def build_tapped_blocks(count: int | None, numbers: tuple[int, ...], predictor: PredictorKind) -> BlockCut:
    """The builder of `blocks:FRONT,TAIL` for a host that taps `count` blocks."""
    front, tail = numbers
    if count is None:
        raise InputError(f"boundary blocks:{front},{tail} needs the number of blocks of the model; give blocks=N")
    return BlockCut(count, front, tail, predictor.order, predictor.probes)
