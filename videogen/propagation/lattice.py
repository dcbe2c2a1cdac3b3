"""The frame lattice's interface: at a key step only some frames are computed, the others are carried by them.

`frames_unet` and `frames_dit` fill it in; `frames` chooses the frames and makes the lattice of a model.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from videogen.core.errors import InputError

from .stubs import Replaced, Uncopied


@dataclass(frozen=True)
class Asked:
    """What the model calls within `Lattice.on` are to compute. fresh: ascending, of `frames` frames of latents."""

    fresh: tuple[int, ...]
    frames: int
    branch: str
    _made: dict[Hashable, torch.Tensor] = field(default_factory=dict)

    @property
    def everything(self) -> bool:
        return len(self.fresh) == self.frames

    def once(self, key: Hashable, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """An index or a table that all layers share, made by the first that needs it."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def check_first(module: nn.Module) -> None:
    """InputError where a stub of this package stands in for the module already."""
    found = vars(module).get("forward")
    stub = getattr(found, "__self__", found)
    if isinstance(getattr(stub, "_replaced", None), Replaced):
        raise InputError(
            f"a layer {type(module).__name__} is stood in for by {type(stub).__name__} already, which would see and keep "
            "only the computed frames; make the lattice first, attach the rest of propagation after it, close it last"
        )


class LayerStub(Uncopied, ABC):
    """Stands in for one module's `forward` and keeps its signature, which other tools read. Attached before all
    others."""

    def __init__(self, module: nn.Module, lattice: Lattice) -> None:
        check_first(module)
        self._module_name, self._lattice = type(module).__name__, lattice
        self.__signature__ = inspect.signature(module.forward)
        self._replaced = Replaced(module, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        asked = self._lattice.asked
        return self._replaced.original(*args, **kwargs) if asked is None else self.run(asked, args, kwargs)

    @abstractmethod
    def run(self, asked: Asked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The module's output for all frames, of which the asked ones are computed."""

    def stream(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """The call's first argument, however it was given: the hidden states."""
        return args[0] if args else kwargs[next(iter(self.__signature__.parameters))]

    def close(self) -> None:
        self._replaced.close()


class Lattice:
    """The stubs on one model. Outside `on` the model is as if they were not there."""

    def __init__(self) -> None:
        self.asked: Asked | None = None
        self._stubs: list[LayerStub] = []

    @contextmanager
    def on(self, fresh: Sequence[int], frames: int, branch: str) -> Iterator[None]:
        """Within it, calls of this guidance branch compute only the `fresh` frames of `frames` frames of latents.

        With all frames fresh the output is bit-identical to the model's own. Raises InputError.
        """
        chosen = tuple(sorted(fresh))
        if not chosen or len(set(chosen)) != len(chosen) or chosen[0] < 0 or chosen[-1] >= frames:
            raise InputError(f"fresh={tuple(fresh)} must name one or more of the frames 0..{frames - 1}, each once")
        before, self.asked = self.asked, Asked(chosen, frames, branch)
        try:
            yield
        finally:
            self.asked = before

    def ready(self, branch: str) -> bool:
        """Whether a subset of frames can be computed now; where not, the next call of the branch computes all."""
        return True

    def forget(self, branch: str | None = None) -> None:
        """Nothing is kept any more, of one branch or of all."""
        return

    def kept_bytes(self) -> int:
        """Memory of what is kept between calls."""
        return 0

    def close(self) -> None:
        """The model is as it was before. What was attached after the lattice is closed before it."""
        for stub in reversed(self._stubs):
            stub.close()
        self._stubs.clear()
        self.forget()
