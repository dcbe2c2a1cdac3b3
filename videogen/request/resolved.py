"""Resolved request: a render request in which every field is set, for one loaded model. No torch here.

Configurations are objects, so that nothing after `resolve` parses a string. `to_dict` is what manifests and journals
record: as a `RenderRequest` it resolves to the same again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from videogen.core.errors import InputError
from videogen.core.frame_latent_map import FrameLatentMap
from videogen.core.rates import exact_fps
from videogen.request.continuity import Continuity
from videogen.request.continuity_policies import PIPELINE_GUIDANCE, general_policy

from .conditions import Conditions
from .fitting import check_joined_motion, fit_continuity
from .model_sources import SOURCE_FIELDS
from .plain_data import to_plain

if TYPE_CHECKING:
    from videogen.attention.config import SparseAttention
    from videogen.backbones.clip_spec import ClipSpec
    from videogen.backbones.geometry import LatentGeometry
    from videogen.backbones.lora.embedding_spec import Embedding
    from videogen.backbones.lora.spec import Lora
    from videogen.backbones.resolvable import ResolvableModel
    from videogen.motion.control import MotionControl
    from videogen.motion.spec import Motion
    from videogen.propagation.caches import LibraryCache
    from videogen.propagation.config import StepCaching
    from videogen.timeline import LatentTimeline, Timeline

    from .request import RenderRequest

#: fields that are stored only where they are set, or not at their default
_ONLY_WHERE_SET = (
    "conditions", "options", "compile", "channels_last", "strict", "memory", "precision", "loras", "embeddings",
    "shift", *SOURCE_FIELDS,
)  # fmt: skip
_ONLY_WHERE_OFF = ("validate",)
_NOTED_DEVIATION = 0.01  # of the requested duration, as a fraction


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

    request: as it was given; only `to_dict` reads it, for the fields that resolving leaves as they are. solver:
    None for the checkpoint's own. guidance_scale_2: None for the same scale in both experts. generated_frames:
    length that the model generates for a single clip, `frames` or the next one that fills its latents; what is more
    is left out. window: frames that it generates at once. attention, propagation, motion: None for off. story: None
    for one prompt. continuity: how a long video's clips are joined; `off` for a single clip; `measured` until a
    trial has chosen the policy. sources: from where else than `model` its components are, by the request's fields.
    source_notes: how images and videos that the clip is made from are fitted to it.
    loras, embeddings: with the digest of each file. shift: None for the checkpoint's own. lora_notes: what the
    LoRAs' own settings decided; follows_noise: whether one was trained with warped noise. single_pass_frames: the most
    that the model is known to generate at once without worse frames.
    """

    request: RenderRequest
    prompt: str
    negative_prompt: str
    model: str
    dtype: str
    device: str
    frames: int
    generated_frames: int
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
    compile: bool | str
    channels_last: bool
    vae_tiling: bool
    attention: SparseAttention | None
    propagation: StepCaching | LibraryCache | None
    motion: MotionSettings | None
    story: Timeline | None
    continuity: Continuity | Literal["off", "measured"]
    retries: int
    single_pass_frames: int
    conditions: Conditions = field(default_factory=Conditions)
    options: Mapping[str, Any] = field(default_factory=dict)
    loras: tuple[Lora, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    shift: float | None = None
    lora_notes: tuple[str, ...] = ()
    follows_noise: bool = False
    source_notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def timeline(self) -> Timeline:
        """The story, or one shot of the prompt."""
        from videogen.timeline import Timeline

        return Timeline.from_prompt(self.prompt) if self.story is None else self.story

    @property
    def is_long(self) -> bool:
        """Whether the video is made of several clips."""
        return self.continuity != "off"

    @property
    def clip_continuity(self) -> Continuity:
        """How the clips are joined. InputError for a single clip, and until a trial has chosen the policy."""
        if isinstance(self.continuity, Continuity):
            return self.continuity
        raise InputError(
            f"continuity={self.continuity!r} is not a policy that joins clips; name one, such as {general_policy()!r}"
        )

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance needs two predictions per step, or a pipeline may decide so itself."""
        return self.guidance_mode == PIPELINE_GUIDANCE or max(self.guidance_scale, self.guidance_scale_2 or 0.0) > 1

    @property
    def exact_fps(self) -> Fraction:
        """The frame rate as videos are written with."""
        return exact_fps(self.fps)

    def clip_spec(self, frames: int | None = None) -> ClipSpec:
        """What a clip is generated with; frames: its length in frames where it is not the single clip's."""
        from videogen.backbones.clip_spec import ClipSpec

        return ClipSpec(
            frames or self.generated_frames,
            self.height,
            self.width,
            self.steps,
            self.guidance_mode,
            self.guidance_scale,
            self.guidance_scale_2,
            self.fps,
            options=self.options,
        )

    @property
    def notes(self) -> list[str]:
        """What a user should know about how the request is served."""
        left_out, notes = self.generated_frames - self.frames, [*self.source_notes, *self.lora_notes]
        if left_out and not self.is_long:
            notes.append(
                f"frames={self.frames} does not fill the latents of {self.model!r}: {self.generated_frames} frames are "
                f"generated, and the last {left_out} left out"
            )
        at_once = self.window if self.is_long else self.generated_frames
        if at_once > self.single_pass_frames:
            remedy = _remedy_of_length(self.request, is_long=self.is_long, most=self.single_pass_frames)
            notes.append(
                f"{at_once} frames at once are more than the {self.single_pass_frames} up to which {self.model!r} is "
                f"known to follow its prompt; use {remedy}"
            )
        seconds = self.request.seconds
        if seconds is not None and abs(self.frames / self.fps - seconds) > _NOTED_DEVIATION * seconds:
            notes.append(
                f"seconds={seconds:g} is not a whole number of frames at {self.fps:g} fps: the video has "
                f"{self.frames}, {self.frames / self.fps:.3g} s"
            )
        if self.guidance_scale <= 1 < (self.guidance_scale_2 or 0):
            notes.append(
                f"guidance_scale_2={self.guidance_scale_2:g} guides the low-noise expert alone; diffusers' pipeline "
                f"guides neither at guidance_scale={self.guidance_scale:g}"
            )
        return notes

    @property
    def length(self) -> str:
        """The length as it was requested, for messages: `frames=96`, or `seconds=6 (96 frames)`."""
        seconds = self.request.seconds
        return f"frames={self.frames}" if seconds is None else f"seconds={seconds:g} ({self.frames} frames)"

    def describe_length(self, frames: int) -> str:
        """Another length in the unit of the requested one, rounded down: `96 frames`, or `6 seconds (96 frames)`."""
        if self.request.seconds is None:
            return f"{frames} frames"
        return f"{math.floor(1000 * frames / self.fps) / 1000:g} seconds ({frames} frames)"

    def latent_timeline(self, geometry: LatentGeometry) -> LatentTimeline:
        """The timeline per latent frame. The last latent frame may reach beyond the end of the video."""
        frames = FrameLatentMap.from_geometry(geometry).round_up(self.frames)
        return self.timeline.compile(fps=self.fps, frames=frames, geometry=geometry, seed=self.seed)

    def with_continuity(
        self, policy: str | Mapping[str, Any] | Continuity, backbone: ResolvableModel
    ) -> ResolvedRequest:
        """The same video, its clips joined by this policy, in any form that a request takes.

        Raises InputError or UnsupportedError where the policy fits neither the model nor the video.
        """
        continuity = fit_continuity(
            Continuity.from_value(policy), backbone, self.window, noise=self.noise, moves=self.motion is not None
        )
        if self.motion is not None:
            check_joined_motion(self.motion.control, self.motion.first_frame)
        joined = replace(self, continuity=continuity)
        joined.latent_timeline(backbone.geometry)
        return joined

    def shorten(self, frames: int) -> ResolvedRequest:
        """At most so many of the first frames, without retries; a story's first prompt throughout."""
        shots_only = self.story is not None and self.motion is not None and self.motion.spec is None
        return replace(
            self,
            frames=min(self.frames, frames),
            retries=0,
            story=None,
            motion=None if shots_only else self.motion,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for manifests and journals: the fields of `RenderRequest`."""
        motion = self.motion
        resolved = {
            "negative_prompt": self.negative_prompt,
            "model": self.model,
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
            "steps": self.steps,
            "solver": self.solver,
            "shift": self.shift,
            "guidance_scale": self.guidance_scale,
            "fps": self.fps,
            "guidance_mode": self.guidance_mode,
            "dtype": self.dtype,
            "compile": self.compile,
            "channels_last": self.channels_last,
            "device": self.device,
            "motion": None if motion is None else motion.spec,
            "motion_strength": None if motion is None else motion.strength,
            "motion_backend": None if motion is None else motion.control,
            "first_frame": None if motion is None else motion.first_frame,
            "story": self.story,
            "seconds": None,
            "continuity": self.continuity,
            "window": self.window,
            "retries": self.retries,
        }
        if self.conditions.keys() or self.conditions.strength is not None:
            resolved["conditions"] = self.conditions
        if self.loras:
            resolved["loras"] = self.loras
        if self.embeddings:
            resolved["embeddings"] = self.embeddings
        resolved |= {name: self.sources.get(name) for name in SOURCE_FIELDS}
        given = {one.name: getattr(self.request, one.name) for one in fields(self.request)}
        values = {name: resolved.get(name, value) for name, value in given.items()}
        return {name: to_plain(value) for name, value in values.items() if _is_stored(name, value)}


def _remedy_of_length(request: RenderRequest, *, is_long: bool, most: int) -> str:
    """What to do about a clip that is longer than its model is known to generate well; options that were not given are
    not named."""
    if is_long:
        return "a smaller window"
    given = [name for name in ("window", "continuity") if getattr(request, name) is not None]
    return f"several clips: leave out {' and '.join(given)}" if given else f"at most {most}"


def _is_stored(name: str, value: object) -> bool:
    """Whether a field is stored: those of later versions only where they are not at their default."""
    return not (name in _ONLY_WHERE_SET and not value) and not (name in _ONLY_WHERE_OFF and value)
