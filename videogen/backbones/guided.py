"""Guided clip: classifier-free guidance over a model that takes latents, a timestep and text.

Guidance (Ho & Salimans 2207.12598) is `uncond + scale * (cond - uncond)`, in one batch or in two calls. Where several
prompts share a clip, cond is the mean of their predictions, weighted per frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING

import torch

from videogen.core.branch import BOTH, Branch
from videogen.schedulers.noise.source import NoiseSource
from videogen.schedulers.solver import Solver
from videogen.schedulers.windows import Window

from .clip import Clip, PredictionContext
from .clip_spec import ClipSpec
from .conditioning import Blend, Conditioning

if TYPE_CHECKING:
    from .base import Backbone

#: (latents, text embeddings, branch) -> prediction
Evaluate = Callable[[torch.Tensor, torch.Tensor, Branch], torch.Tensor]


class GuidedClip(Clip):
    """A batch of clips on a backbone that has `predict`. sources: one per sample, for initial and solver noise."""

    def __init__(
        self, backbone: Backbone, spec: ClipSpec, text: Conditioning, sources: Sequence[NoiseSource], solver: Solver
    ) -> None:
        self.solver = solver
        self._backbone, self._mode, self._text, self._sources = backbone, spec.guidance_mode, text, sources
        _, channels, frames, height, width = backbone.geometry.shape(spec.frames, spec.height, spec.width)
        noise = torch.cat([source.frames(range(frames), (channels, height, width)) for source in sources])
        self.initial = backbone.start(noise, solver)

    def predict(self, context: PredictionContext, latents: torch.Tensor, window: Window | None = None) -> torch.Tensor:
        model_input = context.model_input(self.solver.scale_input(latents, context.index))
        text = self._text if window is None else self._text.within(window.slots)
        timestep = self.solver.timesteps[context.index]
        given = context.timestep(timestep)

        def evaluate(latents: torch.Tensor, text: torch.Tensor, branch: Branch) -> torch.Tensor:
            with context.around(branch):
                return self._backbone.predict(latents, given, text, context.expert)

        start = None if window is None else window.start
        return guide(evaluate, model_input, text, context.guidance_scale, self._mode, start)

    def step(self, index: int, prediction: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        latents = self.solver.step(prediction, index, latents, self._sources)
        self.position = index + 1
        return latents

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self._backbone.decode(latents)

    def snapshot(self) -> tuple[Solver, int | None]:
        return self.solver.copy(), self.position

    def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, tuple)
        solver, self.position = snapshot
        self.solver = solver.copy()


def guide(
    evaluate: Evaluate, latents: torch.Tensor, text: Conditioning, scale: float, mode: str, window: int | None = None
) -> torch.Tensor:
    """The guided prediction for latents; `mode` is `batched` or `sequential`.

    Without a negative prompt's embedding, one plain call per prompt. window: first frame of the window in the clip.
    """
    branch = partial(Branch, window=window)
    if text.negative is None:
        return _blend(evaluate, latents, text, evaluate(latents, text.positive, branch("cond")), window)
    if mode == "batched":
        both = evaluate(torch.cat([latents] * 2), torch.cat([text.negative, text.positive]), branch(BOTH))
        negative, positive = both.chunk(2)
    else:
        positive = evaluate(latents, text.positive, branch("cond"))
        negative = evaluate(latents, text.negative, branch("uncond"))
    return negative + scale * (_blend(evaluate, latents, text, positive, window) - negative)


def _blend(
    evaluate: Evaluate, latents: torch.Tensor, text: Conditioning, positive: torch.Tensor, window: int | None
) -> torch.Tensor:
    """The positive prediction, mixed per frame with those of the further prompts."""

    def add(total: torch.Tensor, numbered: tuple[int, Blend]) -> torch.Tensor:
        number, blend = numbered
        weight = blend.weight.to(positive)[:, None, :, None, None]
        return total + weight * (evaluate(latents, blend.positive, Branch("cond", number, window)) - positive)

    return reduce(add, enumerate(text.blends, 1), positive)
