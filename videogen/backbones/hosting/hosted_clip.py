"""Hosted clip: a batch of clips on a pipeline of diffusers that is suspended in its own loop.

`predict` runs the pipeline's loop body up to its scheduler's step, `step` makes that step and ends the body, `decode`
lets the pipeline finish. What a body takes over from the one before (latents, audio latents, a solver's earlier
estimates) are local variables of the pipeline's call; they are set before each body, so that any step can be predicted
at any time, with any latents. Legend: latents [batch, channel, frame, height, width].
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from videogen.core.errors import UnsupportedError
from videogen.schedulers.windows import Window

from ..clip import Clip, PredictionContext
from .handover import Question, Returned
from .hosted_solver import HostedSolver
from .layout import Layout
from .lent_loop import END, NEXT, STEP, LentLoop, StepCall
from .outputs import Outputs, read_outputs
from .refusals import explain_refusal
from .step_guidance import StepGuidance
from .tapped_scheduler import find_tapped, restore_scheduler, save_scheduler


@dataclass(frozen=True)
class _Saved:
    """All that later bodies depend on: carried local variables, the state of each scheduler, generators, position."""

    carried: Mapping[str, Any]
    schedulers: tuple[tuple[Any, dict[str, Any]], ...]
    draws: object
    position: int | None


class HostedClip(Clip):
    """loop: not begun yet; arguments: of the pipeline's call. in_order: the steps run once each, in order, since the
    pipeline loops more than once, or its bodies depend on more than can be put back. options: those of the arguments
    that the request states under the pipeline's own names. InputError for what the pipeline's own checks refuse.
    """

    def __init__(
        self,
        loop: LentLoop,
        arguments: Mapping[str, Any],
        layout: Layout,
        *,
        in_order: bool = False,
        guidance_scale: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._loop, self._layout, self._in_order = loop, layout, in_order
        self.reenterable = not in_order
        self._handover = loop.open(arguments)
        weakref.finalize(self, loop.close)
        self._call: StepCall | None = None
        self._outputs: Outputs | None = None
        self._first = 0  # index of the present section's first step
        self._given: torch.Tensor | None = None
        self._prediction: torch.Tensor | None = None
        try:
            with explain_refusal(self._name, options or {}):
                message = self._handover.begin()
            self._expect(message, NEXT)
        except BaseException:
            self.close()
            raise
        self._guidance = None if guidance_scale is None else StepGuidance(loop, guidance_scale)
        self._fit_layout()
        self._enter_section()
        self.initial = self._read_latents()

    @property
    def length(self) -> int:
        """Number of model calls that are known so far; more follow where the pipeline makes a clip in sections."""
        return self._first + len(self._loop.timesteps)

    @property
    def outputs(self) -> Outputs:
        """Frames and audio, once decoded."""
        assert self._outputs is not None, "decode first"
        return self._outputs

    def predict(self, context: PredictionContext, latents: torch.Tensor, window: Window | None = None) -> torch.Tensor:
        index = context.index
        if self._in_order and (window is not None or index != (self.position or 0)):
            raise UnsupportedError(f"step {index}: this pipeline runs its steps in order; it cannot go back or window")
        self._check_timestep(context, index)
        self._leave_body()
        if self._guidance is not None:
            self._guidance.set(context.guidance_scale)
        model_input = context.model_input(latents)
        if model_input is not self._video:
            self._set_latents(model_input)
        self._loop.around, self._loop.window = context.around, None if window is None else window.start
        try:
            call = self._expect(self._handover.resume(index - self._first), STEP)
        finally:
            self._loop.around = None
        self._call, self._given = call, None if model_input is latents else latents
        self._prediction = self._as_video(call.prediction)
        return self._prediction

    def step(self, index: int, prediction: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        call, self._call = self._call, None
        assert call is not None, "predict first"
        changed = None if prediction is self._prediction else self._from_video(prediction, call.prediction)
        sample = None if self._given is None else self._from_video(latents, call.sample)
        self._prediction = None
        message = self._handover.resume(self._make_step(call, changed, sample))
        self.position = index + 1
        if self._in_order and self.position == self.length:
            return self._end_section(message)
        self._expect(message, NEXT)
        return self._read_latents()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        if self._outputs is None:
            self._leave_body()
            if latents is not self._video:
                self._set_latents(latents)
            message = self._handover.resume(END)
            if not isinstance(message, Returned):
                raise UnsupportedError(
                    f"{self._name} loops again after its denoising loop; it has to run in order (mode 'driven')"
                )
            self._outputs = read_outputs(message.result, self._name, self._loop.pipeline)
        self.audio = self._outputs.audio
        return self._outputs.frames

    def decode_first_frame(self, latents: torch.Tensor) -> torch.Tensor:
        """The pipeline decodes clips of the length that it was called for."""
        return self.decode(latents)[:, 0]

    def snapshot(self) -> _Saved:
        """What the next body begins with, or the present one where it waits for its step."""
        carried = {name: _copied(value) for name, value in self._before.items()}
        schedulers = tuple((scheduler, save_scheduler(scheduler)) for scheduler in self._schedulers())
        return _Saved(carried, schedulers, self._draws_before, self.position)

    def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, _Saved)
        self._leave_body()
        for scheduler, saved in snapshot.schedulers:
            restore_scheduler(scheduler, saved)
        self._loop.draws.restore(snapshot.draws)
        self.position = snapshot.position
        self._set_carried({name: _copied(value) for name, value in snapshot.carried.items()})

    def close(self) -> None:
        self._loop.close()

    @property
    def _name(self) -> str:
        return type(self._loop.pipeline).__name__

    def _expect(self, message: Question | Returned, what: str) -> Any:
        """The payload of a question of this kind."""
        if isinstance(message, Question) and message.what == what:
            return message.payload
        happened = "ended" if isinstance(message, Returned) else f"asked for {message.what!r}"
        raise UnsupportedError(
            f"{self._name} {happened} instead of {what!r}: its loop has a form that cannot be hosted"
        )

    def _enter_section(self) -> None:
        self.solver = HostedSolver(self._loop.scheduler, self._loop.timesteps)
        self._remember()

    def _fit_layout(self) -> None:
        """Leave out the frames or tokens that the pipeline has put in front of the video's, or behind."""
        if self._layout.size is not None:
            self._layout = self._layout.with_extras_of(self._carried()[self._loop.form.state].shape)

    def _end_section(self, message: Question | Returned) -> torch.Tensor:
        """Continue with the pipeline's next loop, or let it finish."""
        self._expect(message, NEXT)
        latents, self._first = self._read_latents(), self.length
        message = self._handover.resume(END)
        if isinstance(message, Returned):
            self._loop.timesteps = []
            self._outputs = read_outputs(message.result, self._name, self._loop.pipeline)
            return latents
        self._expect(message, NEXT)
        self._enter_section()
        if self.on_section is not None:
            self.on_section(self.solver)
        return self._read_latents()

    def _leave_body(self) -> None:
        """To the top of the loop, as if the body that is suspended had not been run."""
        call, self._call = self._call, None
        if call is None:
            return
        saved = [(scheduler, save_scheduler(scheduler)) for scheduler in self._schedulers()]
        draws, before = self._draws_before, self._before
        self._expect(self._handover.resume(self._make_step(call)), NEXT)
        for scheduler, state in saved:
            restore_scheduler(scheduler, state)
        self._loop.draws.restore(draws)
        self._set_carried(before)

    def _make_step(
        self, call: StepCall, prediction: torch.Tensor | None = None, sample: torch.Tensor | None = None
    ) -> Any:
        """What the scheduler's real step returns; it is made here, so that techniques may change what it is given."""
        with self._loop.draws.answering():
            return call.make(prediction, sample)

    def _schedulers(self) -> list[Any]:
        """The pipeline's scheduler, the copies that its call has made of it, and its further ones."""
        assert self._loop.frame is not None
        found = find_tapped(self._loop.scheduler, self._loop.form.variables(self._loop.frame))
        return [*found, *self._loop.further_schedulers]

    def _carried(self) -> dict[str, Any]:
        assert self._loop.frame is not None
        return self._loop.form.read(self._loop.frame)

    def _set_carried(self, values: Mapping[str, Any]) -> None:
        assert self._loop.frame is not None
        self._loop.form.write(self._loop.frame, values)
        self._remember()

    def _set_latents(self, latents: torch.Tensor) -> None:
        state, form = self._carried()[self._loop.form.state], self._loop.form
        packed = self._from_video(latents, state).to(state.device, state.dtype)
        self._set_carried({form.state: _with_strides_of(state, packed)})

    def _read_latents(self) -> torch.Tensor:
        """The loop's latents as the engine sees them."""
        self._remember()
        return self._video

    def _remember(self) -> None:
        """Note what the next body begins with."""
        values, self._draws_before = self._carried(), self._loop.draws.save()
        mutated = self._loop.form.mutated
        self._before = {name: _copied(value) if mutated else value for name, value in values.items()}
        latents = values[self._loop.form.state]
        self._video = self._layout.to_video(latents.clone() if mutated else latents)

    def _as_video(self, tensor: torch.Tensor) -> torch.Tensor:
        """A prediction as [b, c, f, h, w]: frames that the solver does not move are zero."""
        batch, _, frames = self._video.shape[:3]
        if tensor.ndim == 4 and len(tensor) == batch * frames:  # frames as a batch of images
            return tensor.unflatten(0, (batch, frames)).transpose(1, 2)
        layout = self._layout.of_video_alone(tensor.shape)
        if layout.fits(tensor.shape):
            tensor = tensor if layout.frame_count(tensor.shape) < 0 else layout.to_video(tensor)
        pinned = frames - tensor.shape[2] if tensor.ndim == 5 else 0
        if pinned <= 0:
            return tensor
        return torch.cat([torch.zeros_like(tensor[:, :, :1]).expand(-1, -1, pinned, -1, -1), tensor], 2)

    def _from_video(self, video: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """[b, c, f, h, w] in the form of a tensor of the pipeline, without frames that the solver does not move."""
        if like.ndim == 4 and video.ndim == 5 and len(like) == len(video) * video.shape[2]:
            return video.transpose(1, 2).flatten(0, 1)
        if not self._layout.fits(like.shape):
            return video[:, :, video.shape[2] - like.shape[2] :]
        layout = self._layout.of_video_alone(like.shape)
        frames = layout.frame_count(like.shape)
        pinned = video.shape[2] - frames
        return layout.from_video(video[:, :, pinned:] if pinned > 0 and frames > 0 else video, like)

    def _check_timestep(self, context: PredictionContext, index: int) -> None:
        own = self.solver.timesteps[index - self._first]
        if context.timestep(own) is not own:
            raise UnsupportedError(f"{self._name} is given one timestep for the entire clip; its frames cannot differ")


def _with_strides_of(like: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """A copy whose memory is laid out as that of another tensor: convolutions may round otherwise for another order."""
    if like.shape != tensor.shape:
        return tensor.clone(memory_format=torch.contiguous_format)
    return torch.empty_like(like).copy_(tensor)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value
