"""Sampling runs of several clips within one of ComfyUI's: conditions of their own, and one progress bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..hooks.model_runs import RunContext


class ClipCalls:
    """Runs of clips. executor: ComfyUI's, which samples once; args: its further arguments (noise mask, callback, ...);
    runs: how many there will be."""

    def __init__(
        self, executor: Any, context: RunContext, sampler: Any, sigmas: torch.Tensor, args: tuple[Any, ...], runs: int
    ) -> None:
        self._executor, self._guider = executor, context.guider
        self._sampler, self._sigmas, self._runs = sampler, sigmas, runs
        self._callback: Callable[..., Any] | None = args[1] if len(args) > 1 else None
        self._rest = args[2:]
        self._conds = getattr(context.guider, "conds", None)
        self._done = 0
        self._last: tuple[Any, ...] = ()

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        """Latents of clips [b, c, f, h, w], from an empty latent."""
        if self._conds is not None:  # a run fits them to its clips
            self._guider.conds = {name: [one.copy() for one in conds] for name, conds in self._conds.items()}
        callback = None if self._callback is None else self._report
        found: torch.Tensor = self._executor(
            noise, torch.zeros_like(noise), self._sampler, self._sigmas.clone(), None, callback, *self._rest,
            latent_shapes=[noise.shape],
        )  # fmt: skip
        self._done += 1
        return found

    def finish(self, result: torch.Tensor) -> None:
        """Give the callback the joined clip [b, c, f, h, w] as the last prediction, in ComfyUI's scale of LATENT."""
        if self._callback is not None and self._last:
            step, _, x, steps = self._last
            clean = self._guider.model_patcher.model.process_latent_in(result.to(x))
            self._callback(step, clean, clean, steps)

    def _report(self, step: int, clean: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        assert self._callback is not None
        self._last = (self._done * steps + step, clean, x, self._runs * steps)
        self._callback(*self._last)
