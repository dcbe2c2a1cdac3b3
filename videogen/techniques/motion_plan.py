"""Motion of a render: the compiled plan of its clip, the warped noise that follows it, and its manifest entry."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videogen.backbones.base import Backbone
from videogen.core.errors import InputError
from videogen.media.metadata import read_folder_fps
from videogen.media.video import Video
from videogen.motion import MotionPlan, compile_motion
from videogen.motion.control import MotionControl
from videogen.motion.image_files import read_image
from videogen.motion.serialisation import digests
from videogen.request.resolved import MotionSettings, ResolvedRequest
from videogen.schedulers.noise.source import NoiseSource
from videogen.schedulers.warping.warped_noise import WarpedNoise

_log = logging.getLogger("videogen")


@dataclass(frozen=True)
class PlannedMotion:
    """A resolved request's motion for its clip.

    first_frame: file of the image that dual_clock warps; files: a digest of each file that the motion was read from.
    """

    plan: MotionPlan
    control: MotionControl
    strength: float
    first_frame: str | None
    files: dict[str, str]

    def warps(self) -> bool:
        return self.control.backend == "warped_noise"

    def noise(self, backbone: Backbone, seed: int) -> NoiseSource:
        """The initial noise of a clip that follows the plan."""
        return build_warped_noise(self.plan, self.control, self.strength, backbone, seed)

    def to_manifest(self) -> dict[str, Any]:
        """The backend, its strength and the digests of the files, for the manifest."""
        return {"backend": self.control.backend, "strength": self.strength, "files": self.files}


def plan_motion(request: ResolvedRequest, backbone: Backbone) -> PlannedMotion | None:
    """The motion of a resolved request; None where it has none. InputError where it does not fit the clip or the
    backend."""
    motion = request.motion
    if motion is None or motion.spec is None:
        return None
    if motion.control.backend == "warped_noise":
        _check_warped(request, motion, backbone)
    plan = compile_motion(
        motion.spec, request.frames, request.height, request.width, fps=request.fps, read_video=read_driving_video
    ).extend(request.generated_frames)
    planned = PlannedMotion(
        plan, motion.control, motion.strength, motion.first_frame, digests(motion.spec, motion.first_frame)
    )
    if not planned.warps() and not plan.mask().any():
        raise InputError(
            "the motion controls no part of the frame: nothing moves; give a path, a camera move or a driving video"
        )
    return planned


def build_warped_noise(
    plan: MotionPlan, control: MotionControl, strength: float, backbone: Backbone, seed: int
) -> WarpedNoise:
    """Noise for a model's latents that follows a plan; strength: retained correlation, 0 to 1."""
    geometry = backbone.geometry
    return WarpedNoise(
        plan, seed, spatial=geometry.spatial, temporal=geometry.temporal, causal=geometry.single_first,
        **control.warping, strength=strength, device=backbone.device,
    )  # fmt: skip


def read_driving_video(path: str | os.PathLike[str]) -> Any:
    """A driving video; only its frames where it is a folder of images without a known rate."""
    video = Video.open(path)
    return video.frames if Path(path).is_dir() and read_folder_fps(Path(path)) is None else video


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
    if not backbone.training.warped_noise:
        _log.warning(
            "%s is not known to be trained with warped noise: it may not follow the motion, and may show artifacts",
            backbone.name,
        )


def read_first_frame(motion: PlannedMotion) -> np.ndarray | None:
    """The image that dual_clock warps, uint8 [height, width, 3]; None where none is given."""
    if motion.first_frame is None:
        return None
    image = read_image(motion.first_frame, channels=4)[..., :3]
    plan = motion.plan
    if image.shape[:2] != (plan.height, plan.width):
        raise InputError(
            f"first_frame={motion.first_frame!r} is {image.shape[1]}x{image.shape[0]} px and the clip {plan.width}x"
            f"{plan.height}; give an image of the clip's size"
        )
    return np.ascontiguousarray(image)
