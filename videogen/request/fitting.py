"""Checks of how a long video's clips are joined against a model: the policy with all of its numbers, and the motion."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from videogen.core.errors import InputError, UnsupportedError
from videogen.motion.control import MotionControl
from videogen.request.continuity import Continuity
from videogen.request.continuity_noise import INDEPENDENT, MOVING
from videogen.request.continuity_policies import FIRST_FRAME_POLICY, needs_met

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel
    from videogen.timeline.latent_timeline import LatentTimeline


def fit_continuity(
    policy: Continuity, backbone: ResolvableModel, window: int, *, noise: str, moves: bool
) -> Continuity:
    """The policy with every setting filled in for clips of `window` frames.

    noise: the request's; moves: whether the video has a motion, which its noise then follows. InputError or
    UnsupportedError where the policy fits neither the model nor the video.
    """
    if policy.policy != FIRST_FRAME_POLICY or not backbone.capabilities.own_guidance:
        check_joined_noise(noise)
    if moves and policy.noise == INDEPENDENT:
        policy = replace(policy, noise=MOVING)
    if policy.noise_row.follows_motion != moves:
        motion = "a motion" if moves else "no motion"
        raise InputError(f"continuity with noise={policy.noise} does not work with {motion}; use noise={INDEPENDENT}")
    check_window(window, backbone)
    policy.check_model(needs_met(backbone), backbone.name)
    return policy.for_clip(backbone.geometry.shape(window, 0, 0)[2])


def check_prompts(timeline: LatentTimeline, backbone: ResolvableModel) -> None:
    """UnsupportedError where the prompt changes within a scene and the predictions of the model's pipeline cannot be
    blended per frame."""
    refusal = backbone.refusal("blend", ())
    if refusal is None:
        return
    for number, (before, shot) in enumerate(pairwise(timeline.shots), 2):
        if not shot.cut and shot.prompt != before.prompt:
            raise UnsupportedError(
                f"shot {number} changes the prompt without a cut, which cannot be done on {backbone.name!r}: "
                f"{refusal.reason}; {refusal.instead}"
            )


def check_scenes(timeline: LatentTimeline, backbone: ResolvableModel) -> None:
    """InputError for a scene whose latent frames do not come in the groups that the VAE decodes."""
    step = backbone.geometry.latent_step
    for index, (start, stop) in enumerate(timeline.scenes()):
        warmup = int(index > 0 and timeline.latent_map.single_first)  # as in `longvideo.segments.find_scenes`
        count = stop - start + warmup
        if (count - 1) % step:
            raise InputError(
                f"scene {index + 1} has {count} latent frames, and the VAE of {backbone.name!r} decodes {step} at once "
                f"after the first; make it {timeline.latent_map.frames_per_latent} frames shorter or longer"
            )


def check_window(window: int, backbone: ResolvableModel) -> None:
    """InputError where a clip of so many frames does not fill its latents."""
    frame_map = backbone.geometry.frame_map
    if not frame_map.fits(window):
        near = " or ".join(map(str, frame_map.nearest_counts(window)))
        raise InputError(f"window={window} does not fill latent frames of {backbone.name!r}; use {near}")


def check_joined_noise(noise: str) -> None:
    """InputError where a request's noise cannot be that of several clips."""
    if noise == "diffusers":
        raise InputError(
            "noise='diffusers' draws the noise of one clip in order; a long video needs addressed noise: leave it out"
        )


def check_joined_motion(control: MotionControl, first_frame: object) -> None:
    """UnsupportedError where several clips cannot follow a motion this way."""
    if control.backend != "warped_noise" or first_frame is not None:
        raise UnsupportedError(
            "dual_clock warps the first frame of a single clip; a long video's motion needs warped_noise: use that, or "
            "render a shorter video"
        )
