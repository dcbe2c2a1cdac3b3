"""Frame subset of a key step: a model computes some frames only, and their change is propagated to the others.

The interface that `frame_subset_unet` and `frame_subset_dit` implement; `frame_choice` chooses the frames.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from videogen.core.attachment import ForwardAttachment, HookAttachment, attachments_on
from videogen.core.errors import InputError


@dataclass(frozen=True)
class FrameSelection:
    """The frames that model calls within `FrameSubset.select` compute: `fresh`, ascending, out of `frames`."""

    fresh: tuple[int, ...]
    frames: int
    branch: str
    _tables: dict[Hashable, torch.Tensor] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return len(self.fresh) == self.frames

    def shared(self, key: Hashable, build: Callable[[], torch.Tensor]) -> torch.Tensor:
        """An index or table that all layers use, built by the first layer that needs it."""
        if key not in self._tables:
            self._tables[key] = build()
        return self._tables[key]


def check_innermost(module: nn.Module) -> None:
    """InputError if another attachment has already replaced the module's forward."""
    others = (other for other in attachments_on(module) if isinstance(other, ForwardAttachment))
    found = next((other for other in others if not isinstance(other, HookAttachment)), None)
    if found is not None:
        raise InputError(
            f"a layer {type(module).__name__} has {found.kind} attached already, which would see and cache "
            "only the computed frames; build the frame subset first, attach the rest after it, close it last"
        )


class FrameSubsetLayer(ForwardAttachment):
    """Replaces the `forward` of one module. Attached first of all."""

    kind = "propagation over frames"

    def __init__(self, module: nn.Module, subset: FrameSubset) -> None:
        check_innermost(module)
        self._module_name, self._subset = type(module).__name__, subset
        super().__init__(module)

    def forward(self, *args: object, **kwargs: object) -> object:
        selection = self._subset.selection
        return self.original(*args, **kwargs) if selection is None else self.run(selection, args, kwargs)

    @abstractmethod
    def run(self, selection: FrameSelection, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """The module's output for all frames, of which the selected ones are computed."""

    def hidden_states(self, args: tuple[object, ...], kwargs: dict[str, object]) -> torch.Tensor:
        """The first argument of the call, positional or by name."""
        hidden = args[0] if args else kwargs[next(iter(self.__signature__.parameters))]
        assert isinstance(hidden, torch.Tensor)
        return hidden


class FrameSubset:
    """The replaced layers of one model. Outside `select` the model behaves as without them."""

    def __init__(self) -> None:
        self.selection: FrameSelection | None = None
        self._layers: list[FrameSubsetLayer] = []

    @contextmanager
    def select(self, fresh: Sequence[int], frames: int, branch: str) -> Iterator[None]:
        """Within it, calls of this guidance branch compute only the `fresh` frames out of `frames` frames of latents.

        With all frames fresh the output is bit-identical to the model's own. Raises InputError.
        """
        chosen = tuple(sorted(fresh))
        if not chosen or len(set(chosen)) != len(chosen) or chosen[0] < 0 or chosen[-1] >= frames:
            raise InputError(f"fresh={tuple(fresh)} must name one or more of the frames 0..{frames - 1}, each once")
        before, self.selection = self.selection, FrameSelection(chosen, frames, branch)
        try:
            yield
        finally:
            self.selection = before

    def ready(self, branch: str) -> bool:
        """Whether a subset of frames can be computed now; if not, the next call of the branch computes all."""
        return True

    def forget(self, branch: str | None = None) -> None:
        """Empty the cache, of one branch or of all."""
        return

    def cached_bytes(self) -> int:
        """Memory of what is cached between calls."""
        return 0

    def close(self) -> None:
        """Restore the model. Attachments made after this one are closed before it."""
        for layer in reversed(self._layers):
            layer.detach()
        self._layers.clear()
        self.forget()
