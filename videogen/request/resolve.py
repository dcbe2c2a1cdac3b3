"""What a request gets where its video is longer than one clip: its length, how its clips hang together, how it
moves."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from videogen.core.errors import InputError, UnsupportedError
from videogen.motion.control import STRENGTHS, MotionControl
from videogen.request.continuity import AUTO, MEASURED, OFF, Continuity
from videogen.request.continuity_policies import automatic_policy, needs_met

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone

    from .request import RenderRequest

LONGER_THAN = 1.5  # of the model's own clip: beyond this a video is made of several


def asked_frames(request: RenderRequest, backbone: Backbone) -> int:
    """The clip's length: as asked, the story's, or the model's own."""
    fps = Fraction(request.fps or backbone.defaults.fps).limit_denominator(1001)
    if request.seconds is not None:
        return max(1, round(request.seconds * fps))
    if request.frames is None and request.story is not None:
        timeline = request.timeline()
        if timeline.end is None:
            raise InputError(
                "the story's last shot has no end, so nothing says how long the video is; give seconds or frames"
            )
        return timeline.frame(timeline.end, fps)
    return request.frames or backbone.defaults.frames


def with_continuity(request: RenderRequest, backbone: Backbone) -> RenderRequest:
    """With the policy that this length gets: `off`, all of its numbers, or `measured`, which `long_trial` settles."""
    assert request.frames and request.window
    asked = request.continuity or AUTO
    fits = request.frames <= LONGER_THAN * request.window
    if asked == OFF or (asked in (AUTO, MEASURED) and fits and request.story is None):
        if request.retries:
            raise InputError(
                f"retries={request.retries} is for videos made of several clips; {request.frames} frames are one: leave it out"
            )
        return replace(request, continuity=OFF)
    if request.noise == "diffusers":
        raise InputError(
            "noise='diffusers' draws one clip's noise in order; a long video has noise by address: leave it out"
        )
    if asked == MEASURED:
        return replace(request, continuity=MEASURED)
    needs = needs_met(backbone)
    policy = Continuity.from_value(automatic_policy(needs, with_motion=request.moves) if asked == AUTO else asked)
    if request.moves and policy.noise == "iid":
        policy = replace(policy, noise="warped")
    if (policy.noise == "warped") != request.moves:
        raise InputError(
            f"continuity's noise={policy.noise} and {'a' if request.moves else 'no'} motion do not go together; use noise=iid"
        )
    policy.check_model(needs, backbone.name)
    clip = backbone.geometry.shape(request.window, 0, 0)[2]
    return replace(request, continuity=policy.for_clip(clip).to_dict())


def with_long_motion(request: RenderRequest, backbone: Backbone) -> RenderRequest:
    """A long video's motion goes by warped noise, in every clip."""
    if not request.moves:
        return request
    control = request.motion_control() or MotionControl("warped_noise")
    if control.backend != "warped_noise" or request.motion_picture is not None:
        raise UnsupportedError(
            "dual_clock moves the first frame of a single clip; a long video's motion goes by warped_noise"
        )
    if request.motion_backend is None and not backbone.training.warped_noise:
        raise UnsupportedError(
            f"a long video's motion goes by warped noise, which {backbone.name!r} is not known to be trained with; say "
            f"motion_backend='warped_noise' to try it, or render at most {int(LONGER_THAN * backbone.defaults.frames)} frames"
        )
    return replace(
        request, motion_backend=str(control.with_clocks(*backbone.training.dual_clock)),
        motion_strength=STRENGTHS[control.backend] if request.motion_strength is None else request.motion_strength,
    )  # fmt: skip
