"""Form of a block's output, to be filled with propagated streams in place of what the block would compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class _Blank:
    """A tensor of an output that no block reads between key steps."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    def tensor(self) -> torch.Tensor:
        return torch.zeros(1, dtype=self.dtype, device=self.device).expand(self.shape)


class OutputForm:
    """The form of what one block returns: a tensor or a tuple, and the shapes in it."""

    def __init__(self, output: Any) -> None:
        self._is_tuple = isinstance(output, tuple | list)
        self._parts = [
            _Blank(part.shape, part.dtype, part.device) if isinstance(part, torch.Tensor) else part
            for part in self.parts_of(output)
        ]

    def parts_of(self, output: Any) -> tuple[Any, ...]:
        """The parts of an output of this form."""
        return tuple(output) if self._is_tuple else (output,)

    def fill(self, streams: tuple[torch.Tensor, ...]) -> Any:
        """An output of this form with `streams` put where their shapes fit."""
        left, parts = list(streams), []
        for part in self._parts:
            fits = next((i for i, s in enumerate(left) if isinstance(part, _Blank) and s.shape == part.shape), None)
            parts.append(left.pop(fits) if fits is not None else part.tensor() if isinstance(part, _Blank) else part)
        return tuple(parts) if self._is_tuple else parts[0]
