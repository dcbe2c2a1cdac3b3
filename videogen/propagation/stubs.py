"""Standing in for single modules of a model: record what they give at a key step, give it again at the others.

A stub replaces `forward` on the one instance and nothing else, so the model's own forward, with all its embeddings and
glue, stays the library's code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from videogen.core.errors import InputError

from .predictor import combine


@dataclass
class Now:
    """What the stubs of one model do at present.

    branch: whose features; weights: of the kept values, one tuple a copy of the batch in `replay`, and the would-be
    ones in `record`. Sums over all recorded features: missed and size, of squares of (would-be - fresh) and of fresh;
    along, line: of (fresh - newest) * way and of way squared, where way is how far the line went on from the newest.
    """

    mode: Literal["off", "record", "replay"] = "off"
    branch: str = ""
    weights: tuple[tuple[float, ...], ...] = ()
    missed: float | torch.Tensor = 0.0
    size: float | torch.Tensor = 0.0
    along: float | torch.Tensor = 0.0
    line: float | torch.Tensor = 0.0

    def begin(
        self, mode: Literal["off", "record", "replay"], branch: str, weights: tuple[tuple[float, ...], ...]
    ) -> None:
        self.mode, self.branch, self.weights = mode, branch, weights
        self.missed = self.size = self.along = self.line = 0.0

    def compare(self, expected: torch.Tensor, newest: torch.Tensor, fresh: torch.Tensor) -> None:
        """A feature as propagation would have given it, as it would have been held, and as it is."""
        way, real = (expected - newest).float(), (fresh - newest).float()
        self.missed = self.missed + (way - real).square().sum()
        self.size = self.size + fresh.float().square().sum()
        self.along, self.line = self.along + (way * real).sum(), self.line + way.square().sum()

    def drift(self) -> float | None:
        """Relative change of the features against what propagation would have given; None where nothing was
        compared."""
        size = float(self.size)
        return (float(self.missed) / size) ** 0.5 if size > 0 else None

    def reach(self) -> float | None:
        """The share of the line's way that the features really went; None where there was no line."""
        line = float(self.line)
        return float(self.along) / line if line > 0 else None


@dataclass
class Cell:
    """The last values of one feature, newest first, for each guidance branch."""

    depth: int
    values: dict[str, list[torch.Tensor]] = field(default_factory=dict)

    def record(self, branch: str, value: torch.Tensor) -> None:
        kept = self.values.setdefault(branch, [])
        kept.insert(0, value)
        del kept[self.depth :]

    def predict(self, branch: str, weights: tuple[float, ...]) -> torch.Tensor:
        return combine(self.values[branch], weights)

    def drop_newest(self, branch: str) -> None:
        del self.values.get(branch, [])[:1]

    def forget(self) -> None:
        self.values.clear()


class Uncopied:
    """What hangs on one model: with it the model can be neither copied nor saved as a whole. Raises InputError."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise InputError("a model cannot be copied while propagation is attached; close() the handle first")

    def __reduce__(self) -> Any:
        raise InputError("a model cannot be saved as a whole while propagation is attached; close() the handle first")


class Replaced:
    """An instance's `forward`, replaced until `close()`."""

    def __init__(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        self._module, self._own = module, vars(module).get("forward")
        self.original: Callable[..., Any] = module.forward
        module.forward = forward

    def close(self) -> None:
        if self._own is None:
            vars(self._module).pop("forward", None)
        else:
            self._module.forward = self._own


class Stub(Uncopied):
    """One module that is not run at steps between keys.

    cell: where its output is kept; None: nobody reads its output. clone: whether somebody writes into it.
    """

    def __init__(self, module: nn.Module, now: Now, cell: Cell | None, clone: Callable[[], bool]) -> None:
        self._now, self._cell, self._clone = now, cell, clone
        self._in_tuple = False
        self._shapes: dict[
            str, tuple[torch.Size, torch.dtype, torch.device]
        ] = {}  # of each branch: windows differ in length
        self._replaced = Replaced(module, self._forward)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._now.mode == "replay":
            again = self._replay()
            return (again,) if self._in_tuple else again
        output = self._replaced.original(*args, **kwargs)
        if self._now.mode == "record":
            self._in_tuple = isinstance(output, tuple)
            self._record(output[0] if self._in_tuple else output)
        return output

    def _record(self, fresh: torch.Tensor) -> None:
        self._shapes[self._now.branch] = fresh.shape, fresh.dtype, fresh.device
        if self._cell is None:
            return
        now = self._now
        if now.weights and self._cell.values.get(now.branch):
            now.compare(self._cell.predict(now.branch, now.weights[0]), self._cell.values[now.branch][0], fresh)
        self._cell.record(now.branch, fresh.clone() if self._clone() else fresh)

    def _replay(self) -> torch.Tensor:
        now = self._now
        if self._cell is None:  # only its shape is looked at
            (batch, *rest), dtype, device = self._shapes[now.branch]
            shape = (batch * len(now.weights), *rest)
            blank = torch.zeros(1, dtype=dtype, device=device)
            return blank.expand(shape).clone() if self._clone() else blank.expand(shape)
        copies = [self._cell.predict(now.branch, weights) for weights in now.weights]
        if len(copies) > 1:
            return torch.cat(copies)
        return copies[0].clone() if self._clone() else copies[0]

    def close(self) -> None:
        self._replaced.close()
