"""Resolved request: a render request in which every field is set, for one loaded model. No torch here.

Configurations are objects, so that nothing after `resolve` parses a string. It knows the request that it stands for
(`filled`), which is what manifests and journals record.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from videogen.core.errors import InputError
from videogen.core.frame_latent_map import FrameLatentMap
from videogen.core.rates import exact_fps
from videogen.request.continuity import Continuity

if TYPE_CHECKING:
    from videogen.attention.config import SparseAttention
    from videogen.backbones.clip import ClipSpec
    from videogen.backbones.geometry import LatentGeometry
    from videogen.motion.control import MotionControl
    from videogen.motion.spec import Motion
    from videogen.propagation.caches import LibraryCache
    from videogen.propagation.config import StepCaching
    from videogen.timeline import LatentTimeline, Timeline

    from .request import RenderRequest


@dataclass(frozen=True)
class MotionSettings:
    """A motion and how it is enforced.

    spec: the motion of the entire video; None where only shots of the story have one. strength: 0 to 1. first_frame:
    file of the image that dual_clock warps; None: the plain render's first frame.
    """

    spec: Motion | None
    control: MotionControl
    strength: float
    first_frame: str | None = None


@dataclass(frozen=True)
class ResolvedRequest:
    """A render with all its settings. Sizes in px, fps in frames per second.

    filled: the same as a `RenderRequest`, which resolves to this again. solver: None for the checkpoint's own.
    guidance_scale_2: None for the same scale in both experts. window: frames that the model generates at once.
    attention, propagation, motion: None for off. continuity: how a long video's clips are joined; `off` for a single
    clip; `measured` until a trial has chosen the policy.
    """

    filled: RenderRequest
    prompt: str
    negative_prompt: str
    model: str
    frames: int
    window: int
    width: int
    height: int
    fps: float
    steps: int
    solver: str | None
    guidance_scale: float
    guidance_scale_2: float | None
    guidance_mode: str
    seed: int
    noise: str
    vae_tiling: bool
    attention: SparseAttention | None
    propagation: StepCaching | LibraryCache | None
    motion: MotionSettings | None
    timeline: Timeline
    continuity: Continuity | Literal["off", "measured"]
    retries: int

    @property
    def is_long(self) -> bool:
        """Whether the video is made of several clips."""
        return self.continuity != "off"

    @property
    def clip_continuity(self) -> Continuity:
        """How the clips are joined. InputError for a single clip, and until a trial has chosen the policy."""
        if isinstance(self.continuity, Continuity):
            return self.continuity
        raise InputError(f"continuity={self.continuity!r} is not a policy that joins clips; name one, such as 'replay'")

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance needs two predictions per step."""
        return max(self.guidance_scale, self.guidance_scale_2 or 0.0) > 1

    @property
    def exact_fps(self) -> Fraction:
        """The frame rate as videos are written with."""
        return exact_fps(self.fps)

    def clip_spec(self, frames: int | None = None) -> ClipSpec:
        """What a clip is generated with; frames: its length in frames where it is not the request's."""
        from videogen.backbones.clip import ClipSpec

        return ClipSpec(frames or self.frames, self.height, self.width, self.steps, self.guidance_mode)

    def latent_timeline(self, geometry: LatentGeometry) -> LatentTimeline:
        """The timeline per latent frame. The last latent frame may reach beyond the end of the video."""
        frames = FrameLatentMap.from_geometry(geometry).round_up(self.frames)
        return self.timeline.compile(fps=self.fps, frames=frames, geometry=geometry, seed=self.seed)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for manifests and journals: the fields of `RenderRequest`."""
        return self.filled.to_dict()
