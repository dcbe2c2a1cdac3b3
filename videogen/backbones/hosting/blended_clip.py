"""Blended clip: one clip of several prompts on a hosted pipeline, each weighted per latent frame.

A pipeline encodes one prompt for an entire clip, so each prompt has a run of the pipeline of its own. All are given the
same latents; their predictions are averaged, and each makes its solver's step with the average, so that they stay
alike. Guidance is linear in the conditional prediction, so this is what blending that would give. Costs a model
evaluation per prompt. Legend: latents [batch, channel, frame, height, width].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from videogen.core.branch import Branch
from videogen.schedulers.windows import Window

from ..clip import Clip, PredictionContext


class BlendedClip(Clip):
    """clips: one per prompt, not begun; weights: of each but the first, [batch, frame]; the first has the rest."""

    def __init__(self, clips: Sequence[Clip], weights: Sequence[torch.Tensor]) -> None:
        self._clips, self._weights = tuple(clips), tuple(weights)
        self._main = self._clips[0]
        self.solver, self.initial = self._main.solver, self._main.initial

    def predict(self, context: PredictionContext, latents: torch.Tensor, window: Window | None = None) -> torch.Tensor:
        main = total = self._main.predict(context, latents, window)
        for number, (clip, weight) in enumerate(zip(self._clips[1:], self._weights, strict=True), 1):
            own = clip.predict(replace(context, around=_around_prompt(context, number)), latents, window)
            visible = weight if window is None else weight[:, window.slots]
            total = total + visible.to(total)[:, None, :, None, None] * (own - main)
        return total

    def step(self, index: int, prediction: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        found = [clip.step(index, prediction, latents) for clip in self._clips]
        self.position = index + 1
        return found[0]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self._main.decode(latents)

    def snapshot(self) -> tuple[object, ...]:
        return tuple(clip.snapshot() for clip in self._clips)

    def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, tuple)
        for clip, saved in zip(self._clips, snapshot, strict=True):
            clip.restore(saved)
        self.position = self._main.position

    def close(self) -> None:
        for clip in self._clips:
            clip.close()


def _around_prompt(context: PredictionContext, number: int) -> Callable[[Branch], AbstractContextManager[object]]:
    """`around` of a context, entered with the branch of a further prompt."""
    return lambda branch: context.around(replace(branch, prompt=number))
