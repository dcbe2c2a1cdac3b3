"""The one denoising loop: `state = step(state, prediction)`. All that is needed to go on is in the state."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import torch
from einops import rearrange

from videogen.backbones.base import Backbone, Conditioning
from videogen.schedulers.noise.source import NoiseSource
from videogen.schedulers.windows import Window, Windows

from .checks import check_finite
from .guidance import Evaluate, guided
from .step_plan import StepRow
from .technique import Technique


@dataclass(frozen=True)
class LoopState:
    """Where a run stands. latents [b, c, f, h, w]; index: steps done; solver: its scheduler, with its history;
    noise: one source a sample. windows: where the model sees the clip segment by segment; None: whole."""

    latents: torch.Tensor
    index: int
    solver: Any
    noise: Sequence[NoiseSource]
    windows: Windows | None = None

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """[b, c, f, h, w] of what the model sees at once."""
        batch, channels, frames, *sides = self.latents.shape
        return (batch, channels, frames if self.windows is None else self.windows.size, *sides)

    def snapshot(self) -> LoopState:
        """A copy that later steps do not touch: go on from it and get the same result."""
        return replace(self, latents=self.latents.clone(), solver=copy.deepcopy(self.solver))


def step(state: LoopState, prediction: torch.Tensor) -> LoopState:
    """One solver step. Stochastic solvers draw from each sample's own noise source, frame by frame where it is
    addressed."""
    timestep = state.solver.timesteps[state.index]
    if not _takes_generator(type(state.solver)):
        latents = state.solver.step(prediction, timestep, state.latents, return_dict=False)[0]
        return replace(state, latents=latents, index=state.index + 1)
    batch, frames = state.latents.shape[0], state.latents.shape[2]
    generators = [g for source in state.noise for g in source.generators(state.index, frames)]
    apart = len(generators) > batch  # each frame as a sample of its own: solvers treat all values alike
    given = [_frames_apart(x) if apart else x for x in (prediction, state.latents)]
    drawn = generators[0] if len(generators) == 1 else generators
    latents = state.solver.step(given[0], timestep, given[1], return_dict=False, generator=drawn)[0]
    return replace(state, latents=_frames_together(latents, batch) if apart else latents, index=state.index + 1)


def _frames_apart(x_bcfhw: torch.Tensor) -> torch.Tensor:
    return rearrange(x_bcfhw, "b c f h w -> (b f) c 1 h w")


def _frames_together(x: torch.Tensor, batch: int) -> torch.Tensor:
    return rearrange(x, "(b f) c 1 h w -> b c f h w", b=batch).contiguous()


def denoise(
    backbone: Backbone,
    state: LoopState,
    plan: list[StepRow],
    text: Conditioning,
    mode: str,
    techniques: Sequence[Technique] = (),
) -> Iterator[LoopState]:
    """Yield the state after each step that is left. Closing the iterator between steps stops the run.

    A technique may answer a step with an earlier state: the run then goes on from there.
    """
    while state.index < len(plan):
        row = plan[state.index]
        timestep = state.solver.timesteps[row.index]
        scaled = scale_input(state.solver, state.latents, timestep)
        seen = reduce(lambda given, technique: technique.timestep(row, given), techniques, timestep)
        evaluate = partial(_evaluate, backbone, seen, row, techniques)
        prediction = _predict(evaluate, scaled, text, row, mode, state.windows)
        for technique in techniques:
            prediction = technique.prediction(row, state, prediction)
        check_finite(prediction, f"step {row.index + 1} of {len(plan)}", backbone.dtype)
        state = step(state, prediction)
        for technique in techniques:
            state = technique.after_step(row, state)
        yield state


def _predict(
    evaluate: Evaluate, latents: torch.Tensor, text: Conditioning, row: StepRow, mode: str, windows: Windows | None
) -> torch.Tensor:
    """The guided prediction: of the whole clip, or of each window, averaged where they overlap (a branch is then
    `cond@START`)."""
    if windows is None:
        return guided(evaluate, latents, text, row.guidance_scale, mode)

    def seen(window: Window) -> torch.Tensor:
        def within(latents: torch.Tensor, text: torch.Tensor, branch: str) -> torch.Tensor:
            return evaluate(latents, text, f"{branch}@{window.start}")

        return guided(
            within, latents[:, :, window.slots].contiguous(), text.within(window.slots), row.guidance_scale, mode
        )

    return windows.fuse((seen(window) for window in windows.at(row.index)), row.index)


def _evaluate(
    backbone: Backbone,
    timestep: torch.Tensor,
    row: StepRow,
    techniques: Sequence[Technique],
    latents: torch.Tensor,
    text: torch.Tensor,
    branch: str,
) -> torch.Tensor:
    """One model call, wrapped by each technique; the first of the list is outermost."""

    def model(latents: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return backbone.predict(latents, timestep, text, row.expert)

    call: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = model
    for technique in reversed(techniques):
        call = partial(_through, technique, row, branch, call)
    return call(latents, text)


def _through(
    technique: Technique, row: StepRow, branch: str, call: Any, latents: torch.Tensor, text: torch.Tensor
) -> torch.Tensor:
    return technique.evaluate(row, branch, latents, text, call)


def scale_input(solver: Any, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Latents as the model sees them."""
    scale = getattr(solver, "scale_model_input", None)
    return latents if scale is None else scale(latents, timestep)


def _takes_generator(solver_class: Any) -> bool:
    return "generator" in inspect.signature(solver_class.step).parameters
