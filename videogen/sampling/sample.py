"""Sampling run: from noise to final latents, with techniques around the denoising loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from videogen.backbones.base import Backbone
from videogen.backbones.conditioning import ClipText
from videogen.backbones.given import Given
from videogen.backbones.planned import PlannedClip
from videogen.core.attachment import check_unattached
from videogen.core.errors import UnsupportedError
from videogen.request.resolved import ResolvedRequest
from videogen.schedulers.noise.source import NoiseSource
from videogen.schedulers.windows import Windows

from .loop import LoopState, denoise
from .step_plan import StepRow, make_plan
from .technique import Technique
from .technique_checks import add_report, check_sections

#: (state, steps in all, steps skipped at the start), before the first step and after each
OnStep = Callable[[LoopState, int, int], None]


def plan_of(backbone: Backbone, request: ResolvedRequest) -> list[StepRow]:
    """The plan of a resolved request before it runs: more rows than steps with solvers that call the model twice."""
    return make_plan(backbone, backbone.build_solver(request.solver, request.steps, request.shift), request)


def begin(
    backbone: Backbone,
    request: ResolvedRequest,
    text: ClipText,
    sources: Sequence[NoiseSource],
    latent_frames: int | None = None,
    windows: Windows | None = None,
    given: Sequence[Given] = (),
) -> LoopState:
    """The first state of a batch of clips, one noise source per sample.

    latent_frames: length of each clip; None: that of the request. windows: where the model is given the clip window by
    window; given: the conditions, read. Raises UnsupportedError where the clip does not allow windows, InputError where
    something is attached to the model from outside: the manifest would not say so.
    """
    for model in backbone.denoisers():
        check_unattached(model, "let the request name it, such as attention='adaptive' or propagate='max_error:0.02'")
    frames = None if latent_frames is None else backbone.geometry.frame_map.frame_count(latent_frames)
    spec = replace(request.clip_spec(frames), given=tuple(given))
    if windows is not None:
        spec = replace(spec, window_frames=backbone.geometry.frame_map.frame_count(windows.size))
    clip = backbone.open(spec, text, sources, backbone.build_solver(request.solver, request.steps, request.shift))
    if windows is not None and not clip.reenterable:
        clip.close()
        raise UnsupportedError(
            f"{backbone.name!r} cannot be given a clip window by window: its pipeline calls the model once per step; "
            "use a continuity policy without windows"
        )
    return LoopState(clip, clip.initial, 0, windows)


def begin_outline(backbone: Backbone, request: ResolvedRequest, latent_frames: int) -> LoopState:
    """The first state of a clip that will not be generated, for what attaches to a model without its weights."""
    spec = request.clip_spec(backbone.geometry.frame_map.frame_count(latent_frames))
    clip = PlannedClip(backbone.build_solver(request.solver, request.steps, request.shift), backbone.geometry, spec)
    return LoopState(clip, clip.initial, 0)


def sample(
    backbone: Backbone,
    state: LoopState,
    request: ResolvedRequest,
    techniques: Sequence[Technique],
    on_step: OnStep,
) -> tuple[torch.Tensor, list[StepRow], dict[str, Any]]:
    """(final latents, the plan as it ran, what was measured). The clip stays open, for decoding."""
    check_sections(techniques)
    plan = make_plan(backbone, state.solver, request)
    state.clip.on_section = lambda solver: plan.extend(make_plan(backbone, solver, request, len(plan)))
    state = replace(state, techniques=tuple(techniques))
    measured: dict[str, Any] = {}
    with ExitStack() as stack:  # every technique ends, even if another one fails to
        for technique in techniques:
            stack.callback(_end, technique, measured)
        for technique in techniques:
            technique.begin(backbone, plan, state)
        for technique in techniques:
            state = technique.start(state)
        skipped = state.index
        if skipped and not state.clip.reenterable:
            raise UnsupportedError(
                f"{backbone.name!r} cannot begin at step {skipped}: its pipeline runs its steps in order; switch off "
                "the technique that skips steps, such as dual_clock"
            )
        on_step(state, len(plan), skipped)
        for state in denoise(state, plan, backbone.dtype):  # noqa: B020
            on_step(state, len(plan), skipped)
    return state.latents, plan, measured


def _end(technique: Technique, measured: dict[str, Any]) -> None:
    add_report(measured, technique, technique.end())
