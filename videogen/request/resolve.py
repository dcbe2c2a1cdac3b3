"""Resolution of a render request against a loaded model: length, continuity, motion, and the model's defaults.

It happens once, before anything is computed; whatever does not fit the model raises here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

from videogen.core.errors import InputError, UnsupportedError
from videogen.core.rates import exact_fps
from videogen.motion.control import STRENGTHS, MotionControl
from videogen.request.continuity import AUTO, MEASURED, OFF, Continuity
from videogen.request.continuity_policies import FIRST_FRAME_POLICY, automatic_policy, general_policy, needs_met

from .condition_checks import check_conditions, check_frames_given_once, check_masks, check_places
from .fitting import (
    check_joined_motion,
    check_joined_noise,
    check_prompts,
    check_scenes,
    check_window,
    fit_continuity,
)
from .image_chain import check_chain, chooses_chain, is_image_chain
from .lora_preset import build_preset
from .loras import resolve_embeddings, resolve_loras
from .model_sources import requested_sources
from .resolved import MotionSettings, ResolvedRequest
from .source_fitting import ClipSources, fit_to_sources, fitting_notes
from .technique_checks import check_joined_clips, check_techniques_fit

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel

    from .request import RenderRequest

_FRAMES = re.compile(r"\d frames|frames=\d")  # in a message about a length


def resolve(request: RenderRequest, backbone: ResolvableModel, *, segmented: bool = False) -> ResolvedRequest:
    """The request with every field set for this model. InputError or UnsupportedError where it does not fit the
    model.

    segmented: a video that would be a single clip becomes a long one of one segment, unless continuity='off'.
    """
    check_loaded(request, backbone)
    check_conditions(request.given, backbone)
    sources = fit_to_sources(request, backbone)
    fps = request.fps or sources.fps or backbone.defaults.fps
    frames = clip_frames(request, fps, sources.frames or backbone.defaults.frames)
    try:
        return _resolve(request, frames, sources, backbone, segmented)
    except (InputError, UnsupportedError) as error:
        if request.seconds is None or not _FRAMES.search(str(error)):
            raise
        raise type(error)(f"{error} (seconds={request.seconds:g} at {fps:g} fps: {frames} frames)") from error


def _resolve(
    request: RenderRequest, frames: int, sources: ClipSources, backbone: ResolvableModel, segmented: bool
) -> ResolvedRequest:
    """The request, for a video of so many frames that is made from these sources."""
    defaults = backbone.defaults
    _check_guidance(request.guidance_mode, backbone)
    window = request.window or defaults.frames
    continuity = _resolve_continuity(request, frames, window, backbone, segmented)
    loras = resolve_loras(request.given_loras)
    preset = build_preset(request, loras)
    resolve_motion = _resolve_motion if continuity == OFF else _resolve_long_motion
    motion = resolve_motion(request, backbone, preset.motion)
    default_scale = defaults.guidance_scale if preset.guidance_scale is None else preset.guidance_scale
    scale = default_scale if request.guidance_scale is None else request.guidance_scale
    resolved = ResolvedRequest(
        request=request,
        prompt=request.prompt,
        negative_prompt=_resolve_negative_prompt(request, scale, backbone),
        model=backbone.name,
        dtype=dtype_name(backbone),
        device=str(backbone.device),
        frames=frames,
        generated_frames=backbone.geometry.frame_map.round_up(frames),
        window=window,
        width=request.width or sources.width or defaults.width,
        height=request.height or sources.height or defaults.height,
        fps=request.fps or sources.fps or defaults.fps,
        steps=request.steps or preset.steps or defaults.steps,
        solver=request.solver or preset.solver,
        guidance_scale=scale,
        guidance_scale_2=request.guidance_scale_2,
        guidance_mode=request.guidance_mode or backbone.native_guidance,
        seed=cast(int, request.seed),
        noise=request.noise,
        compile=backbone.compile or request.compile,
        channels_last=backbone.channels_last or request.channels_last,
        vae_tiling=request.vae_tiling,
        attention=request.sparse_attention,
        propagation=request.propagation,
        motion=motion,
        story=None if request.story is None else request.timeline,
        continuity=continuity,
        retries=request.retries,
        single_pass_frames=backbone.single_pass_frames,
        conditions=request.given,
        options=_resolve_options(request, backbone),
        loras=loras,
        embeddings=resolve_embeddings(request.given_embeddings),
        shift=request.shift or preset.shift,
        lora_notes=preset.notes,
        follows_noise=preset.motion is not None,
        sources=dict(backbone.sources),
    )
    return _fit_sources(_fit(resolved, backbone), sources, backbone)


def resolved_for(
    request: RenderRequest | ResolvedRequest, backbone: ResolvableModel, *, segmented: bool = False
) -> ResolvedRequest:
    """The request, resolved if it is not yet. InputError where it was resolved for another model.

    segmented: as in `resolve`.
    """
    if not isinstance(request, ResolvedRequest):
        return resolve(request, backbone, segmented=segmented)
    check_loaded(request, backbone)
    if segmented and not request.is_long and request.request.continuity != OFF:
        check_joined_clips(general_policy(), backbone, request.conditions.keys())
        return request.with_continuity(general_policy(), backbone)
    return request


def clip_frames(request: RenderRequest, fps: float, default: int) -> int:
    """Length in frames: as requested in frames or seconds, the story's, or else the default."""
    rate = exact_fps(fps)
    if request.seconds is not None:
        try:
            return max(1, round(request.seconds * rate))
        except OverflowError:
            raise InputError(f"seconds={request.seconds:g} is longer than any video; use fewer") from None
    if request.frames is None and request.story is not None:
        timeline = request.timeline
        if timeline.end is None:
            raise InputError(
                "the story's last shot has no end, which leaves the length of the video open; give seconds or frames"
            )
        return timeline.frame(timeline.end, rate)
    return request.frames or default


def check_loaded(request: RenderRequest | ResolvedRequest, backbone: ResolvableModel) -> None:
    """InputError where the request names another model, dtype or device than the one that is loaded."""
    device = str(backbone.device) if ":" in (request.device or "") else str(backbone.device).partition(":")[0]
    for name, requested, loaded in (
        ("model", request.model, backbone.name),
        ("dtype", request.dtype, dtype_name(backbone)),
        ("device", request.device, device),
    ):
        if requested is not None and requested != loaded:
            raise InputError(
                f"the request is for {name}={requested!r}, but this engine has {loaded!r}; load that or set {name}=None"
            )
    given = request.sources if isinstance(request, ResolvedRequest) else requested_sources(request)
    for name, source in given.items():
        found = backbone.sources.get(name)
        if source != found:
            raise InputError(
                f"the request is for {name}={source!r}, but this engine has {name}={found!r}; load that or set "
                f"{name}=None"
            )


def _resolve_continuity(
    request: RenderRequest, frames: int, window: int, backbone: ResolvableModel, segmented: bool
) -> Continuity | Literal["off", "measured"]:
    """The policy for this length with all of its numbers, `off` for a single clip, or `measured` for a trial to
    choose."""
    requested = request.continuity or AUTO
    given, longest = request.given.keys(), request.window or backbone.single_pass_frames
    if requested == AUTO and chooses_chain(request, backbone, is_longer=frames > longest):
        requested = FIRST_FRAME_POLICY
    alone = backbone.refusal("replay", given) is not None
    single = request.story is None and (alone or frames <= longest)
    if requested == OFF or (requested in (AUTO, MEASURED) and single):
        if request.retries:
            raise InputError(
                f"retries={request.retries} is for videos made of several clips, not for {frames} frames; leave it out"
            )
        if requested == OFF or not segmented:
            return "off"
        chained = alone and backbone.refusal(FIRST_FRAME_POLICY, given) is None
        requested = FIRST_FRAME_POLICY if chained else general_policy()
    if requested == MEASURED:
        check_joined_clips(MEASURED, backbone, request.given.keys())
        check_joined_noise(request.noise)
        return "measured"
    if requested == AUTO:
        requested = automatic_policy(needs_met(backbone), with_motion=request.moves)
    policy = Continuity.from_value(requested)
    check_joined_clips(policy, backbone, request.given.keys())
    return fit_continuity(policy, backbone, window, noise=request.noise, moves=request.moves)


def _resolve_motion(
    request: RenderRequest, backbone: ResolvableModel, trained: MotionControl | None
) -> MotionSettings | None:
    """A single clip's motion, by the backend that suits the model and the motion where none is named. trained: the
    backend that a LoRA was trained with."""
    from videogen.motion.serialisation import is_global

    spec = request.motion_spec
    if spec is None:
        return None
    everything_moves, training = is_global(spec), backbone.training
    preferred = "dual_clock" if request.first_frame is not None else training.motion_backend(is_global=everything_moves)
    if trained is not None and request.first_frame is None:
        control = request.motion_control or trained
    else:
        control = request.motion_control or MotionControl(preferred)
    return _motion_settings(request, control.with_clocks(*training.dual_clock_levels(is_global=everything_moves)))


def _resolve_long_motion(
    request: RenderRequest, backbone: ResolvableModel, trained: MotionControl | None
) -> MotionSettings | None:
    """A long video's motion, by warped noise in every clip. trained: the backend that a LoRA was trained with."""
    if not request.moves:
        return None
    control = request.motion_control or trained or MotionControl("warped_noise")
    check_joined_motion(control, request.first_frame)
    if request.motion_backend is None and trained is None and not backbone.training.warped_noise:
        raise UnsupportedError(
            f"a long video's motion needs warped noise, and {backbone.name!r} is not known to be trained with it; "
            f"set motion_backend='warped_noise' to try it, or render at most "
            f"{backbone.single_pass_frames} frames"
        )
    return _motion_settings(request, control.with_clocks(*backbone.training.dual_clock))


def _motion_settings(request: RenderRequest, control: MotionControl) -> MotionSettings:
    strength = STRENGTHS[control.backend] if request.motion_strength is None else request.motion_strength
    first_frame = None if request.first_frame is None else str(request.first_frame)
    return MotionSettings(request.motion_spec, control, strength, first_frame)


def _resolve_options(request: RenderRequest, backbone: ResolvableModel) -> dict[str, Any]:
    """The pipeline's own arguments; strength is one of them. InputError for an empty prompt where it is needed."""
    if not request.prompt.strip() and backbone.takes_prompt and not backbone.needs:
        raise InputError("the prompt is empty; say what the video shows, such as 'a red ball moves right'")
    options = dict(request.options or {})
    if request.given.strength is not None:
        options["strength"] = request.given.strength
    return options


def _check_guidance(mode: str | None, backbone: ResolvableModel) -> None:
    """UnsupportedError where a pipeline that guides itself is to be guided by the engine, or the other way round."""
    native = backbone.native_guidance
    if mode is not None and "pipeline" in (mode, native) and mode != native:
        raise UnsupportedError(f"guidance_mode={mode!r} does not apply to {backbone.name!r}; leave it out")


def _resolve_negative_prompt(request: RenderRequest, scale: float, backbone: ResolvableModel) -> str:
    """Empty where it has no effect. InputError for one that is given there."""
    reason = backbone.ignores_negative_prompt(max(scale, request.guidance_scale_2 or 0.0), request.options or {})
    if not reason:
        return backbone.defaults.negative_prompt if request.negative_prompt is None else request.negative_prompt
    if (request.negative_prompt or "").strip():
        raise InputError(f"a negative prompt has no effect {reason}")
    return ""


def _fit(resolved: ResolvedRequest, backbone: ResolvableModel) -> ResolvedRequest:
    """The request as the model can run it. InputError or UnsupportedError where the settings do not fit."""
    from videogen.schedulers.solvers import check_solver

    check_techniques_fit(resolved, backbone)
    if resolved.guidance_scale_2 is not None and backbone.capabilities.experts < 2:
        raise UnsupportedError(
            f"guidance_scale_2={resolved.guidance_scale_2:g} is for models with two experts; {backbone.name!r} has one"
        )
    check_solver(resolved.solver, backbone.noise_schedule)
    _check_shift(resolved, backbone)
    if resolved.is_long:
        check_window(resolved.window, backbone)
    elif resolved.conditions.images and "images" not in backbone.accepts:
        raise InputError(
            f"images of {backbone.name!r} are first and last frames of several clips; leave out continuity='off'"
        )
    spec = backbone.fit(resolved.clip_spec(resolved.window if resolved.is_long else None))
    fitted = replace(resolved, width=spec.width, height=spec.height, steps=spec.steps)
    if not fitted.is_long:
        return replace(fitted, frames=min(fitted.frames, spec.frames), generated_frames=spec.frames)
    fitted = replace(fitted, window=spec.frames)
    timeline = fitted.latent_timeline(backbone.geometry)
    if is_image_chain(fitted):
        check_chain(fitted, backbone)
        return fitted
    check_prompts(timeline, backbone)
    check_scenes(timeline, backbone)
    return fitted


def _check_shift(resolved: ResolvedRequest, backbone: ResolvableModel) -> None:
    """UnsupportedError for a shift of noise levels that are not a flow model's."""
    kind = backbone.noise_schedule.kind
    if resolved.shift is not None and kind != "flow":
        raise UnsupportedError(
            f"shift={resolved.shift:g} is for flow-matching models; {backbone.name!r} predicts {kind!r}: leave it out"
        )


def _fit_sources(resolved: ResolvedRequest, sources: ClipSources, backbone: ResolvableModel) -> ResolvedRequest:
    """The request with notes on how its sources are fitted to the clip. InputError or UnsupportedError where they
    cannot be."""
    conditions = resolved.conditions
    if not conditions.keys():
        return resolved
    check_places(conditions, resolved.frames)
    video = sources.found.get(("video", "", 0))
    frames = resolved.frames if resolved.is_long else resolved.generated_frames
    continued = video.frames if video is not None and backbone.continues_video else 0
    check_frames_given_once(conditions, frames, min(continued, frames))
    check_masks(video, sources.found.get(("mask", "", 0)))
    size = resolved.width, resolved.height
    notes = fitting_notes(conditions, sources, backbone, size, resolved.generated_frames, resolved.exact_fps)
    return replace(resolved, source_notes=(*sources.notes, *notes))


def dtype_name(backbone: ResolvableModel) -> str:
    """The denoiser's dtype as a request names it."""
    return str(backbone.dtype).removeprefix("torch.")
