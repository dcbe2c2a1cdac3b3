"""Solver of a hosted clip: the tapped scheduler, with the timesteps over which the pipeline loops."""

from __future__ import annotations

from typing import Any

import torch

from videogen.schedulers.diffusers_solver import DiffusersSolver
from videogen.schedulers.levels import NoiseLevel


class HostedSolver(DiffusersSolver):
    """timesteps: of the loop, which may be the last of the scheduler's, one per call or one per latent frame."""

    def __init__(self, scheduler: Any, timesteps: list[Any]) -> None:
        super().__init__(scheduler)
        self._timesteps = _as_tensor(timesteps)
        own = getattr(scheduler, "timesteps", None)
        self._skipped = max(0, len(own) - len(timesteps)) if own is not None else 0

    @property
    def timesteps(self) -> torch.Tensor:
        return self._timesteps

    @property
    def is_set(self) -> bool:
        return True

    @property
    def levels(self) -> list[NoiseLevel] | None:
        own = DiffusersSolver(self._scheduler)
        try:
            found = own.levels
        except (TypeError, ValueError, RuntimeError):  # a scheduler whose timesteps are not its noise levels
            return None
        return None if found is None or len(found) <= len(self._timesteps) else found[self._skipped :]

    def sigma(self, index: int) -> float | None:
        sigmas = getattr(self._scheduler, "sigmas", None)
        place = index + self._skipped
        return float(sigmas[place]) if sigmas is not None and len(sigmas) > place else None


def _as_tensor(values: list[Any]) -> torch.Tensor:
    """Timesteps [calls] in the scheduler's own dtype; the highest where a call has one per latent frame."""
    tensors = [torch.as_tensor(value) for value in values]
    return torch.stack([one if one.ndim == 0 else one.amax() for one in tensors]) if tensors else torch.empty(0)
