"""Windowed clip: a hosted pipeline of a window's length, for a clip that is longer and given to it window by window.

The pipeline is opened for a clip as long as one window. Each window is predicted by its loop body; the solver's step is
made here, on the entire clip, and the pipeline's own, of the last window, is discarded. That is the same only where a
body depends on nothing but its index and its latents, and where the loop begins with noise alone: UnsupportedError
where one of them is seen not to be so. Legend: latents [batch, channel, frame, height, width].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch

from videogen.core.errors import UnsupportedError
from videogen.schedulers.noise.source import NoiseSource
from videogen.schedulers.windows import Window

from ..clip import PredictionContext
from .handover import Question, Returned
from .hosted_clip import HostedClip
from .layout import Layout
from .lent_loop import NEXT, LentLoop
from .tapped_scheduler import restore_scheduler, save_scheduler

#: arguments of a solver's step that windows allow, besides numbers
_OF_A_STEP = ("self", "model_output", "sample", "generator")


class WindowedClip(HostedClip):
    """sources: the noise of each sample, of all frames; frames: latent frames of the entire clip."""

    def __init__(
        self,
        loop: LentLoop,
        arguments: Mapping[str, Any],
        layout: Layout,
        sources: Sequence[NoiseSource],
        frames: int,
        guidance_scale: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(loop, arguments, layout, guidance_scale=guidance_scale, options=options)
        try:
            self._carries = set(
                self._carried()
            )  # what the first body begins with; the others assign the rest before use
            self._unstepped = [(scheduler, save_scheduler(scheduler)) for scheduler in self._schedulers()]
            self.initial = self._noise(sources, frames)
        except BaseException:
            self.close()
            raise

    def predict(self, context: PredictionContext, latents: torch.Tensor, window: Window | None = None) -> torch.Tensor:
        prediction = super().predict(context, latents, window)
        assert self._call is not None
        self._window_call = self._call.prediction, self._call.sample
        if prediction.shape != latents.shape:
            self._refuse(f"its prediction {list(prediction.shape)} is not of the form of latents {list(latents.shape)}")
        if not torch.equal(self._as_video(self._call.sample).to(latents.dtype), latents):
            self._refuse("its solver is not given the latents as they are")
        for name, value in self._call.arguments.arguments.items():
            if name not in _OF_A_STEP and isinstance(value, torch.Tensor) and value.numel() > len(latents):
                self._refuse(f"its solver's step takes {name} [{', '.join(map(str, value.shape))}]")
        return prediction

    def step(self, index: int, prediction: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        call = self._call
        assert call is not None, "predict first"
        own, sample = self._window_call
        stepped = self._make_step(call, self._packed(prediction, own), self._packed(latents, sample))[0]
        self._leave_body()
        self.position = index + 1
        if stepped.ndim == 4:  # frames as a batch of images
            return stepped.unflatten(0, (len(latents), -1)).transpose(1, 2).to(latents.dtype)
        return self._layout.to_video(stepped).to(latents.dtype)

    def decode(self, latents: torch.Tensor) -> NoReturn:
        raise UnsupportedError(f"{self._name} holds one window of this clip; decode it with its backbone")

    def _leave_body(self) -> None:
        """As for any clip; the discarded step is a first one, which fits latents of any length."""
        call, self._call = self._call, None
        if call is None:
            return
        saved = [(scheduler, save_scheduler(scheduler)) for scheduler in self._schedulers()]
        draws, before = self._draws_before, self._before
        for scheduler, state in self._unstepped:
            restore_scheduler(scheduler, state)
        message: Question | Returned = self._handover.resume(self._make_step(call, *self._window_call))
        self._expect(message, NEXT)
        if changed := self._changed_since(before):
            self._refuse(f"its loop takes over {', '.join(changed)} from step to step")
        for scheduler, state in saved:
            restore_scheduler(scheduler, state)
        self._loop.draws.restore(draws)
        self._set_carried(before)

    def _packed(self, video: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """The entire clip in the form of a window's tensor."""
        packed = video.transpose(1, 2).flatten(0, 1) if like.ndim == 4 else self._layout.from_video(video)
        return packed.to(like.dtype)

    def _noise(self, sources: Sequence[NoiseSource], frames: int) -> torch.Tensor:
        """The entire clip's initial latents: noise, scaled as the window's were."""
        _, channels, window, height, width = self.initial.shape

        def draw(count: int) -> torch.Tensor:
            parts = [source.frames(range(count), (channels, height, width)) for source in sources]
            return torch.cat(parts).to(self.initial)

        for scale in (1.0, self.solver.initial_scale):
            if torch.equal(draw(window) * scale, self.initial):
                return draw(frames) * scale
        self._refuse("its loop begins with more than noise")

    def _changed_since(self, before: Mapping[str, Any]) -> list[str]:
        """Names of the tensors but the latents that the body has replaced, for the one after it."""
        return [
            name
            for name, value in self._carried().items()
            if name in self._carries - {self._loop.form.state}
            and isinstance(value, torch.Tensor)
            and not _is_same(value, before.get(name))
        ]

    def _refuse(self, why: str) -> NoReturn:
        raise UnsupportedError(
            f"{self._name} cannot be given a clip window by window: {why}; use a continuity policy without windows, "
            "such as replay"
        )


def _is_same(value: torch.Tensor, before: object) -> bool:
    return isinstance(before, torch.Tensor) and value.shape == before.shape and torch.equal(value, before)
