"""Resolution of a render request against a loaded model: length, continuity, motion, and the model's defaults.

It happens once, before anything is computed; whatever does not fit the model raises here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from videogen.core.errors import InputError, UnsupportedError
from videogen.core.frame_latent_map import FrameLatentMap
from videogen.core.rates import exact_fps
from videogen.motion.control import STRENGTHS, MotionControl
from videogen.request.continuity import AUTO, MEASURED, OFF, Continuity
from videogen.request.continuity_policies import automatic_policy, needs_met

from .resolved import MotionSettings, ResolvedRequest

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone

    from .request import RenderRequest

LONGER_THAN = 1.5  # times the native length: beyond this a video is made of several clips


def resolve(request: RenderRequest, backbone: Backbone) -> ResolvedRequest:
    """The request with every field set for this model. InputError or UnsupportedError where it does not fit the
    model."""
    defaults = backbone.defaults
    frames = clip_frames(request, request.fps or defaults.fps, defaults.frames)
    window = request.window or defaults.frames
    check_loaded(request, backbone)
    continuity = _resolve_continuity(request, frames, window, backbone)
    if request.seconds is not None and continuity == OFF:
        frames = FrameLatentMap.from_geometry(backbone.geometry).round_up(frames)
    motion = _resolve_motion(request, backbone) if continuity == OFF else _resolve_long_motion(request, backbone)
    scale = defaults.guidance_scale if request.guidance_scale is None else request.guidance_scale
    resolved = ResolvedRequest(
        filled=request,
        prompt=request.prompt,
        negative_prompt=_resolve_negative_prompt(request, scale, backbone),
        model=backbone.name,
        frames=frames,
        window=window,
        width=request.width or defaults.width,
        height=request.height or defaults.height,
        fps=request.fps or defaults.fps,
        steps=request.steps or defaults.steps,
        solver=request.solver,
        guidance_scale=scale,
        guidance_scale_2=request.guidance_scale_2,
        guidance_mode=request.guidance_mode or backbone.native_guidance,
        seed=request.seed,
        noise=request.noise,
        vae_tiling=request.vae_tiling,
        attention=request.sparse_attention(),
        propagation=request.propagation(),
        motion=motion,
        timeline=request.timeline(),
        continuity=continuity,
        retries=request.retries,
    )
    resolved = _fit(resolved, backbone)
    return replace(resolved, filled=_filled(request, resolved, backbone))


def resolved_for(request: RenderRequest | ResolvedRequest, backbone: Backbone) -> ResolvedRequest:
    """The request, resolved if it is not yet. InputError where it was resolved for another model."""
    if not isinstance(request, ResolvedRequest):
        return resolve(request, backbone)
    check_loaded(request.filled, backbone)
    return request


def clip_frames(request: RenderRequest, fps: float, default: int) -> int:
    """Length in frames: as requested in frames or seconds, the story's, or else the default."""
    rate = exact_fps(fps)
    if request.seconds is not None:
        return max(1, round(request.seconds * rate))
    if request.frames is None and request.story is not None:
        timeline = request.timeline()
        if timeline.end is None:
            raise InputError(
                "the story's last shot has no end, which leaves the length of the video open; give seconds or frames"
            )
        return timeline.frame(timeline.end, rate)
    return request.frames or default


def check_loaded(request: RenderRequest, backbone: Backbone) -> None:
    """InputError where the request names another model, dtype or device than the one that is loaded."""
    device = str(backbone.device) if ":" in (request.device or "") else backbone.device.type
    for name, requested, loaded in (
        ("model", request.model, backbone.name),
        ("dtype", request.dtype, _dtype(backbone)),
        ("device", request.device, device),
    ):
        if requested is not None and requested != loaded:
            raise InputError(
                f"the request is for {name}={requested!r}, but this engine has {loaded!r}; load that or set {name}=None"
            )


def _resolve_continuity(
    request: RenderRequest, frames: int, window: int, backbone: Backbone
) -> Continuity | Literal["off", "measured"]:
    """The policy for this length with all of its numbers, `off` for a single clip, or `measured` for a trial to
    choose."""
    requested = request.continuity or AUTO
    single = frames <= LONGER_THAN * window and request.story is None
    if requested == OFF or (requested in (AUTO, MEASURED) and single):
        if request.retries:
            raise InputError(
                f"retries={request.retries} is for videos made of several clips, not for {frames} frames; leave it out"
            )
        return "off"
    if request.noise == "diffusers":
        raise InputError(
            "noise='diffusers' draws the noise of one clip in order; a long video needs addressed noise: leave it out"
        )
    if requested == MEASURED:
        return "measured"
    needs = needs_met(backbone)
    chosen = automatic_policy(needs, with_motion=request.moves) if requested == AUTO else requested
    policy = Continuity.from_value(chosen)
    if request.moves and policy.noise == "iid":
        policy = replace(policy, noise="warped")
    if (policy.noise == "warped") != request.moves:
        motion = "a motion" if request.moves else "no motion"
        raise InputError(f"continuity with noise={policy.noise} does not work with {motion}; use noise=iid")
    policy.check_model(needs, backbone.name)
    return policy.for_clip(backbone.geometry.shape(window, 0, 0)[2])


def _resolve_motion(request: RenderRequest, backbone: Backbone) -> MotionSettings | None:
    """A single clip's motion, by the backend that suits the model and the motion where none is named."""
    from videogen.motion.serialisation import is_global

    spec = request.motion_spec()
    if spec is None:
        return None
    everything_moves, training = is_global(spec), backbone.training
    preferred = "dual_clock" if request.first_frame is not None else training.motion_backend(is_global=everything_moves)
    control = request.motion_control() or MotionControl(preferred)
    return _motion_settings(request, control.with_clocks(*training.dual_clock_levels(is_global=everything_moves)))


def _resolve_long_motion(request: RenderRequest, backbone: Backbone) -> MotionSettings | None:
    """A long video's motion, by warped noise in every clip."""
    if not request.moves:
        return None
    control = request.motion_control() or MotionControl("warped_noise")
    if control.backend != "warped_noise" or request.first_frame is not None:
        raise UnsupportedError(
            "dual_clock warps the first frame of a single clip; a long video's motion needs warped_noise: use that, or "
            "render a shorter video"
        )
    if request.motion_backend is None and not backbone.training.warped_noise:
        longest = int(LONGER_THAN * backbone.defaults.frames)
        raise UnsupportedError(
            f"a long video's motion needs warped noise, and {backbone.name!r} is not known to be trained with it; "
            f"set motion_backend='warped_noise' to try it, or render at most {longest} frames"
        )
    return _motion_settings(request, control.with_clocks(*backbone.training.dual_clock))


def _motion_settings(request: RenderRequest, control: MotionControl) -> MotionSettings:
    strength = STRENGTHS[control.backend] if request.motion_strength is None else request.motion_strength
    first_frame = None if request.first_frame is None else str(request.first_frame)
    return MotionSettings(request.motion_spec(), control, strength, first_frame)


def _resolve_negative_prompt(request: RenderRequest, scale: float, backbone: Backbone) -> str:
    """Empty without guidance, where it has no effect."""
    if max(scale, request.guidance_scale_2 or 0.0) > 1:
        return backbone.defaults.negative_prompt if request.negative_prompt is None else request.negative_prompt
    if (request.negative_prompt or "").strip():
        raise InputError(f"a negative prompt has no effect with guidance_scale={scale:g}; raise it above 1")
    return ""


def _fit(resolved: ResolvedRequest, backbone: Backbone) -> ResolvedRequest:
    """The request as the model can run it. InputError or UnsupportedError where the settings do not fit."""
    from videogen.schedulers.solvers import check_solver

    if resolved.guidance_scale_2 is not None and backbone.capabilities.experts < 2:
        raise UnsupportedError(
            f"guidance_scale_2={resolved.guidance_scale_2:g} is for models with two experts; {backbone.name!r} has one"
        )
    check_solver(resolved.solver, backbone.noise_schedule.kind)
    spec = backbone.fit(resolved.clip_spec(resolved.window if resolved.is_long else None))
    fitted = replace(resolved, width=spec.width, height=spec.height, steps=spec.steps)
    fitted = replace(fitted, window=spec.frames) if fitted.is_long else replace(fitted, frames=spec.frames)
    if fitted.is_long:
        fitted.latent_timeline(backbone.geometry)
    return fitted


def _filled(request: RenderRequest, resolved: ResolvedRequest, backbone: Backbone) -> RenderRequest:
    """The request with every open field filled in, and the device and dtype that it runs on."""
    motion, continuity = resolved.motion, resolved.continuity
    return replace(
        request,
        negative_prompt=resolved.negative_prompt,
        model=resolved.model,
        frames=resolved.frames,
        width=resolved.width,
        height=resolved.height,
        steps=resolved.steps,
        guidance_scale=resolved.guidance_scale,
        fps=resolved.fps,
        guidance_mode=resolved.guidance_mode,
        dtype=_dtype(backbone),
        device=str(backbone.device),
        motion_strength=request.motion_strength if motion is None else motion.strength,
        motion_backend=request.motion_backend if motion is None else str(motion.control),
        seconds=None,
        continuity=continuity.to_dict() if isinstance(continuity, Continuity) else continuity,
        window=resolved.window,
    )


def _dtype(backbone: Backbone) -> str:
    return str(backbone.dtype).removeprefix("torch.")
