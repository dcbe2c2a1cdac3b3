"""One evaluation of a model, taken apart: its latents, its timestep and its conditions, and how to repeat it for a
batch of steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from videogen.core.errors import UnsupportedError

_LATENTS = ("sample", "hidden_states")
_TIMESTEPS = ("timestep", "timesteps")
#: Inputs that a ControlNet makes anew at every step: they are no condition that must stay, and cannot be known ahead.
_PER_STEP = ("additional_residual", "controlnet")


class Call:
    """A call of `forward`, by parameter name. Raises UnsupportedError where it has no latents or timestep."""

    def __init__(self, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.bound = signature.bind(*args, **kwargs)
        given = self.bound.arguments
        self._latents = next((n for n in _LATENTS if isinstance(given.get(n), torch.Tensor)), "")
        self._timestep = next((n for n in _TIMESTEPS if given.get(n) is not None), "")
        if not self._latents or not self._timestep:
            raise UnsupportedError(
                "this model's forward has no latents (sample, hidden_states) or no timestep; propagation needs both"
            )

    @property
    def latents(self) -> torch.Tensor:
        found: torch.Tensor = self.bound.arguments[self._latents]
        return found

    @property
    def timestep(self) -> float:
        return float(torch.as_tensor(self.bound.arguments[self._timestep]).max())

    def conditions(self) -> dict[str, Any]:
        """All other inputs, tensors in order: what must not change between a key step and those that propagate from
        it."""
        mine = (self._latents, self._timestep)
        return {
            n: v for n, v in self.bound.arguments.items() if n not in mine and not any(part in n for part in _PER_STEP)
        }

    @property
    def repeats(self) -> bool:
        """Whether this call could be made ahead: nothing of it is new at each step but latents and timestep."""
        return not any(any(part in n for part in _PER_STEP) and v is not None for n, v in self.bound.arguments.items())

    def run(self, forward: Callable[..., Any], copies: int = 1, timesteps: torch.Tensor | None = None) -> Any:
        """`forward` on this call; on `copies` of its batch, one after the other, each at its own of `timesteps`
        [copies]."""
        if timesteps is None:
            return forward(*self.bound.args, **self.bound.kwargs)
        given, batch = dict(self.bound.arguments), self.latents.shape[0]
        for name, value in self.conditions().items():
            given[name] = repeated(value, batch, copies)
        given[self._latents] = self.latents.repeat(copies, *[1] * (self.latents.ndim - 1))
        given[self._timestep] = timesteps.to(self.latents.device).repeat_interleave(batch)
        bound = inspect.BoundArguments(self.bound.signature, given)  # type: ignore[arg-type]
        return forward(*bound.args, **bound.kwargs)


def repeated(value: Any, batch: int, copies: int) -> Any:
    """A condition for `copies` of a batch: tensors whose first axis is the batch (or batch times frames) are repeated
    whole."""
    if isinstance(value, torch.Tensor):
        return (
            value.repeat(copies, *[1] * (value.ndim - 1)) if value.ndim > 0 and value.shape[0] % batch == 0 else value
        )
    if isinstance(value, dict):
        return {key: repeated(item, batch, copies) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(repeated(item, batch, copies) for item in value)
    return value


def same(a: Any, b: Any) -> bool:
    """Whether two conditions are equal, tensors by value."""
    if a is b:
        return True
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and not isinstance(a, torch.Tensor) and bool(a == b)
