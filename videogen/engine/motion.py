"""A motion in a render: which backend makes it happen, the noise that carries it, and how well it came out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError
from videogen.media.video import Video
from videogen.motion import MotionPlan, compile
from videogen.motion.control import MotionControl
from videogen.motion.pictures import read_picture
from videogen.schedulers.noise import NoiseSource
from videogen.schedulers.warped import WarpedNoise

from .request import RenderRequest

WARPED_STRENGTH = 0.9  # kept correlation with the warped noise where nothing is asked for


@dataclass(frozen=True)
class PlannedMotion:
    """A request's motion for its clip. control: resolved, nothing left open; strength: 0 to 1."""

    plan: MotionPlan
    control: MotionControl
    strength: float

    def noise(self, backbone: Backbone, seed: int) -> NoiseSource:
        """The initial noise of a clip that follows the plan."""
        geometry = backbone.geometry
        return WarpedNoise(
            self.plan, seed, spatial=geometry.spatial, temporal=geometry.temporal, causal=geometry.single_first,
            method=self.control.method, strength=self.strength, device=backbone.device,
        )  # fmt: skip

    def told(self) -> dict[str, Any]:
        """What was promised, for the manifest."""
        values: dict[str, Any] = {"backend": self.control.backend, "strength": self.strength}
        if self.control.backend == "warped_noise":
            return values | {"method": self.control.method}
        return values | {"weak": self.control.weak, "strong": self.control.strong}


def plan_motion(request: RenderRequest, backbone: Backbone) -> PlannedMotion | None:
    """The motion of a resolved request; None where it has none.

    InputError where it does not fit the clip.
    """
    motion = request.motion_spec()
    if motion is None:
        return None
    assert request.frames and request.height and request.width
    plan = compile(motion, request.frames, request.height, request.width, read_video=Video.open)
    control = _control(request, backbone)
    strength = request.motion_strength
    if strength is None:
        strength = WARPED_STRENGTH if control.backend == "warped_noise" else 1.0
    if control.backend == "warped_noise" and request.noise == "diffusers":
        raise InputError("noise='diffusers' draws the library's noise, a motion warps its own; leave one of them out")
    if control.backend == "dual_clock" and not plan.mask().any():
        raise InputError("the motion tells no part of the picture where to be: nothing moves; give a path, a camera move or a clip")
    return PlannedMotion(plan, control, strength)


def first_picture(request: RenderRequest, plan: MotionPlan) -> np.ndarray | None:
    """The picture that the request names as first, uint8 [height, width, 3]; None where it names none."""
    if request.motion_picture is None:
        return None
    picture = read_picture(request.motion_picture, channels=4)[..., :3]
    if picture.shape[:2] != (plan.height, plan.width):
        raise InputError(
            f"motion_picture {request.motion_picture!r} is {picture.shape[1]}x{picture.shape[0]}, "
            f"the clip {plan.width}x{plan.height}; make them equal"
        )
    return np.ascontiguousarray(picture)


def _control(request: RenderRequest, backbone: Backbone) -> MotionControl:
    trained = backbone.defaults.warped_noise
    asked = request.motion_control()
    control = asked or MotionControl("warped_noise" if trained else "dual_clock")
    if control.backend == "dual_clock" and control.weak is None:
        weak, strong = backbone.defaults.dual_clock
        control = replace(control, weak=weak, strong=strong)
    if control.backend == "warped_noise" and request.motion_picture is not None:
        raise InputError("motion_picture is the first frame that dual_clock moves; warped_noise begins from none: choose one")
    return control
