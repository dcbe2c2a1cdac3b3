"""Motion of a render: the compiled plan of its clip, the warped noise that follows it, and its manifest entry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError
from videogen.core.logs import log_note
from videogen.media.images import read_still
from videogen.motion import MotionPlan, compile_motion
from videogen.motion.control import STRENGTHS, MotionControl
from videogen.motion.layer import DEFAULT, GIVEN, SHAPE
from videogen.motion.objects import FoundObject, fit_regions
from videogen.motion.serialisation import digests, is_global
from videogen.motion.spec import Compose, parts_of
from videogen.request.resolved import MotionSettings, ResolvedRequest
from videogen.schedulers.noise.source import NoiseSource
from videogen.schedulers.warping.warped_noise import WarpedNoise

from .driving_video import DrivingVideoReader


@dataclass(frozen=True)
class PlannedMotion:
    """A resolved request's motion for its clip.

    first_frame: file of the image that dual_clock warps; files: a digest of each file that the motion was read from;
    objects: those that dual_clock found in the first frame.
    """

    plan: MotionPlan
    control: MotionControl
    strength: float
    first_frame: str | None
    files: dict[str, str]
    objects: tuple[FoundObject, ...] = ()

    def warps(self) -> bool:
        return self.control.backend == "warped_noise"

    def noise(self, backbone: Backbone, seed: int) -> NoiseSource:
        """The initial noise of a clip that follows the plan."""
        return build_warped_noise(self.plan, self.control, self.strength, backbone, seed)

    def to_manifest(self) -> dict[str, Any]:
        """The backend, its strength, the digests of the files and the objects, for the manifest."""
        values = {"backend": self.control.backend, "strength": self.strength, "files": self.files}
        values |= {"notes": list(self.plan.notes)} if self.plan.notes else {}
        return values | ({"objects": [found.to_dict() for found in self.objects]} if self.objects else {})

    def fitted_to(self, first_frame: np.ndarray, *, placed: bool = False) -> PlannedMotion:
        """This motion with the objects that its drags find in a first frame, uint8 [height, width, 3].

        placed: the frame was made by warped noise along the drags, which places an object at each of them, of its own
        size and not quite on the path. In a plain draft, which the user does not know, the nearest object is taken
        where none is at the start of a path; in a frame that the user gave, none is.
        """
        outlines, drafted = (DEFAULT, SHAPE) if placed else (DEFAULT,), self.first_frame is None
        plan, objects = fit_regions(self.plan, first_frame, outlines=outlines, recentre=placed, search=drafted)
        for found in objects:
            if found.shift_px != (0.0, 0.0) and not placed:
                log_note(
                    "%s: no object is at its start in the first frame; the nearest one was moved there, by (%g, %g) px",
                    found.name,
                    *found.shift_px,
                )
            if found.area_px is None:
                log_note(
                    "%s: no distinct object is at its start in the first frame, so that region itself is moved; begin "
                    "the path on an object, or give its mask",
                    found.name,
                )
        return replace(self, plan=plan, objects=objects)


def plan_motion(request: ResolvedRequest, backbone: Backbone) -> PlannedMotion | None:
    """The motion of a resolved request; None where it has none. InputError where it does not fit the clip or the
    backend."""
    motion = request.motion
    if motion is None or motion.spec is None:
        return None
    if motion.control.backend == "warped_noise":
        _check_warped(request, motion, backbone)
    reader = DrivingVideoReader(request.frames, request.fps)
    plan = compile_motion(
        motion.spec, request.frames, request.height, request.width, fps=request.fps, read_video=reader
    ).extend(request.generated_frames)
    plan = replace(plan, notes=(*reader.notes, *plan.notes))
    for note in plan.notes:
        log_note("%s", note)
    planned = PlannedMotion(
        plan, motion.control, motion.strength, motion.first_frame, digests(motion.spec, motion.first_frame)
    )
    if not planned.warps() and not plan.mask().any():
        raise InputError(
            "the motion controls no part of the frame: nothing moves; give a path, a camera move or a driving video"
        )
    return planned


def plan_draft(motion: PlannedMotion, request: ResolvedRequest, backbone: Backbone) -> PlannedMotion | None:
    """The motion by warped noise of the draft whose first frame dual_clock moves; None for a plain draft.

    Dual clock moves what a first frame has, and a plain draft has its objects anywhere. A model that was trained with
    warped noise puts them where the drags begin. Not where a mask is given: it belongs to the plain draft.
    """
    cut = [layer for layer in motion.plan.layers[1:] if layer.image is None]
    assert request.motion is not None and request.motion.spec is not None
    if not backbone.training.warped_noise or request.noise == "diffusers" or not cut:
        return None
    if any(layer.outline == GIVEN for layer in cut):
        return None
    drags = tuple(part for part in parts_of(request.motion.spec) if not is_global(part))
    plan = compile_motion(Compose(drags), request.frames, request.height, request.width, fps=request.fps)
    plan = plan.extend(request.generated_frames)
    return PlannedMotion(plan, MotionControl("warped_noise"), STRENGTHS["warped_noise"], None, {})


def build_warped_noise(
    plan: MotionPlan, control: MotionControl, strength: float, backbone: Backbone, seed: int
) -> WarpedNoise:
    """Noise for a model's latents that follows a plan; strength: retained correlation, 0 to 1."""
    geometry = backbone.geometry
    return WarpedNoise(
        plan, seed, spatial=geometry.spatial, temporal=geometry.temporal, causal=geometry.single_first,
        **control.warping, strength=strength, device=backbone.device,
    )  # fmt: skip


def _check_warped(request: ResolvedRequest, motion: MotionSettings, backbone: Backbone) -> None:
    if request.noise == "diffusers":
        raise InputError(
            "noise='diffusers' uses the library's noise, and a motion its own warped noise; leave one of them out"
        )
    if motion.first_frame is not None:
        raise InputError(
            f"first_frame={motion.first_frame!r} is the image that dual_clock warps, and warped_noise uses none; "
            "leave it "
            "out, or choose dual_clock"
        )
    if not backbone.training.warped_noise and not request.follows_noise:
        log_note(
            "%s is not known to be trained with warped noise: it may not follow the motion, and may show artifacts",
            backbone.name,
        )


def read_first_frame(motion: PlannedMotion) -> np.ndarray | None:
    """The image that dual_clock warps, uint8 [height, width, 3]; None where none is given."""
    if motion.first_frame is None:
        return None
    image = read_still(motion.first_frame).frames[0]
    plan = motion.plan
    if image.shape[:2] != (plan.height, plan.width):
        raise InputError(
            f"first_frame={motion.first_frame!r} is {image.shape[1]}x{image.shape[0]} px and the clip {plan.width}x"
            f"{plan.height}; give an image of the clip's size"
        )
    return np.ascontiguousarray(image)
