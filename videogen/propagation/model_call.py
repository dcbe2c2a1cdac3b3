"""Arguments of one call of a diffusers model by role: latents, timestep and conditions; and the same call for a batch
of steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch

from videogen.core.errors import UnsupportedError

from .cut import ModelOutput

_LATENTS = ("sample", "hidden_states")
_TIMESTEPS = ("timestep", "timesteps")
#: Parts of the names of inputs that change at every step, and are not known ahead: what a ControlNet computes, the
#: latents of the sound, the noise level in other units than the timestep, and the timestep that a step leads to.
_PER_STEP = (
    "additional_residual", "controlnet", "audio_hidden_states", "audio_timestep", "audio_sigma", "r_timestep",
    "timestep_r",
)  # fmt: skip
_NOISE_LEVEL = "sigma"


class ModelCall:
    """One call of `forward`. UnsupportedError if it has no latents or no timestep."""

    def __init__(self, signature: inspect.Signature, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._bound = signature.bind(*args, **kwargs)
        given = self._bound.arguments
        self._latents = next((n for n in _LATENTS if isinstance(given.get(n), torch.Tensor)), "")
        self._timestep = next((n for n in _TIMESTEPS if given.get(n) is not None), "")
        if not self._latents or not self._timestep:
            raise UnsupportedError(
                "this model's forward has no latents (sample, hidden_states) or no timestep; propagation needs both"
            )

    @property
    def latents(self) -> torch.Tensor:
        found: torch.Tensor = self._bound.arguments[self._latents]
        return found

    @property
    def timestep(self) -> float:
        return float(torch.as_tensor(self._bound.arguments[self._timestep]).max())

    def conditions(self) -> dict[str, object]:
        """All other inputs, which must not change between a key step and the steps that propagate from it."""
        variable = (self._latents, self._timestep)
        return {
            name: value for name, value in self._bound.arguments.items()
            if name not in variable and not _is_per_step(name)
        }  # fmt: skip

    @property
    def known_ahead(self) -> bool:
        """Whether calls of later steps can be made ahead, as only latents and timestep change between steps."""
        given = self._bound.arguments.items()
        return not any(_is_per_step(name) and value is not None for name, value in given)

    def run(
        self, forward: Callable[..., ModelOutput], copies: int = 1, timesteps: torch.Tensor | None = None
    ) -> ModelOutput:
        """Run `forward` on this call, or on `copies` of its batch, concatenated, each at its entry of `timesteps`
        [copies]."""
        if timesteps is None:
            return forward(*self._bound.args, **self._bound.kwargs)
        given, batch = dict(self._bound.arguments), self.latents.shape[0]
        for name, value in self.conditions().items():
            given[name] = repeat_condition(value, batch, copies)
        given[self._latents] = self.latents.repeat(copies, *[1] * (self.latents.ndim - 1))
        given[self._timestep] = timesteps.to(self.latents.device).repeat_interleave(batch)
        bound = inspect.BoundArguments(self._bound.signature, given)  # type: ignore[arg-type]
        return forward(*bound.args, **bound.kwargs)


def repeat_condition(value: object, batch: int, copies: int) -> object:
    """A condition for `copies` of a batch. Tensors are repeated if axis 0 is the batch (or batch times frames)."""
    if isinstance(value, torch.Tensor):
        per_sample = value.ndim > 0 and value.shape[0] % batch == 0
        return value.repeat(copies, *[1] * (value.ndim - 1)) if per_sample else value
    if isinstance(value, dict):
        return {key: repeat_condition(item, batch, copies) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(repeat_condition(item, batch, copies) for item in value)
    return value


def _is_per_step(name: str) -> bool:
    return name == _NOISE_LEVEL or any(part in name for part in _PER_STEP)
