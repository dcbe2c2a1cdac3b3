"""Cached layer of a UNet: a module whose output is recorded at key steps and replayed at the steps between them.

Only `forward` on the one instance is replaced, so the model's own forward, with all its embeddings and glue, stays the
library's code.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from videogen.core.attachment import ForwardAttachment

from .cut_state import CacheEntry, CutState


class CachedLayer(ForwardAttachment):
    """One module that does not run between key steps.

    entry: caches its output; None if no layer that runs reads it. clone: whether another layer writes into the output.
    """

    kind = "propagation"

    def __init__(self, module: nn.Module, state: CutState, entry: CacheEntry | None, clone: Callable[[], bool]) -> None:
        self._state, self._entry, self._clone = state, entry, clone
        self._in_tuple = False
        # per branch, as windows may differ in length
        self._shapes: dict[str, tuple[torch.Size, torch.dtype, torch.device]] = {}
        super().__init__(module)

    def forward(self, *args: object, **kwargs: object) -> object:
        if self._state.mode == "replay":
            replayed = self._replay()
            return (replayed,) if self._in_tuple else replayed
        output = self.original(*args, **kwargs)
        if self._state.mode == "record":
            self._in_tuple = isinstance(output, tuple)
            self._record(output[0] if self._in_tuple else output)
        return output

    def _record(self, fresh: torch.Tensor) -> None:
        state, entry = self._state, self._entry
        self._shapes[state.branch] = fresh.shape, fresh.dtype, fresh.device
        if entry is None:
            return
        if state.weights and entry.values.get(state.branch):
            state.compare(entry.predict(state.branch, state.weights[0]), entry.values[state.branch][0], fresh)
        entry.record(state.branch, fresh.clone() if self._clone() else fresh)

    def _replay(self) -> torch.Tensor:
        state = self._state
        if self._entry is None:  # only the shape matters
            (batch, *rest), dtype, device = self._shapes[state.branch]
            shape = (batch * len(state.weights), *rest)
            blank = torch.zeros(1, dtype=dtype, device=device)
            return blank.expand(shape).clone() if self._clone() else blank.expand(shape)
        copies = [self._entry.predict(state.branch, weights) for weights in state.weights]
        if len(copies) > 1:
            return torch.cat(copies)
        return copies[0].clone() if self._clone() else copies[0]
