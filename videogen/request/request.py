"""What is asked for: one frozen, checkable, storable description of a render. No torch here.

Every field is also a key of a configuration file or preset, and stands resolved in the video's manifest.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videogen.attention.config import SparseAttention
from videogen.core.errors import InputError, UnsupportedError
from videogen.core.tables import check_keys
from videogen.motion.control import STRENGTHS, MotionControl
from videogen.motion.spec import Motion
from videogen.propagation.caches import LibraryCache
from videogen.propagation.config import EncoderPropagation
from videogen.request.continuity import AUTO, MEASURED, OFF, Continuity

from .resolve import asked_frames, with_continuity, with_long_motion

if TYPE_CHECKING:
    from videogen.backbones.base import Backbone, LatentGeometry
    from videogen.timeline import LatentTimeline, Timeline

NOISES = ("addressed", "diffusers")
GUIDANCES = ("batched", "sequential")


@dataclass(frozen=True)
class RenderRequest:
    """A render. None means: as the model has it. Sizes in px; `noise="diffusers"` draws as the library's pipelines do.

    attention: `dense`, `adaptive` (promises `recall`), `adaspa:SPARSITY`, `window:SPARSITY`, or the fields of
    `videogen.attention.SparseAttention` as a dict. propagate: `off`, `max_error:E`, `fd`, `every:N`, `deepcache:N`, a
    cache of diffusers such as `first-block:0.08`, or the fields of `videogen.propagation.EncoderPropagation` as a dict.
    motion: a `videogen.motion` specification, its layers as a list of dicts, or a TOML plan's path. motion_strength: 0
    (the plain render) to 1: the correlation kept with the warped noise (0.9 where nothing is said), or how far
    dual_clock puts the moved picture back (1); motion_backend: `warped_noise[:METHOD[,cutoff=C]]` or
    `dual_clock[:WEAK,STRONG]` (`motion.control`); motion_picture: the file of the first frame that dual_clock moves,
    the clip's size; None: the plain render's first frame.

    Longer than the model's own clip: story: what is shown when (any form of `videogen.longvideo.as_timeline`), in the
    prompt's place; seconds: the length, in the place of frames; continuity: how the clips hang together, `auto`,
    `measured` (what a trial of a few seconds finds best), `off` (one clip, however long), a policy of
    `videogen.longvideo.Continuity`, or its fields as a dict; window: frames that the model makes at once (None: its own
    length); retries: how often a segment is made again with other noise whose seam shows, or that stands still, strays or
    repeats.
    """

    prompt: str = ""
    negative_prompt: str | None = None
    model: str | None = None
    frames: int | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_scale_2: float | None = None
    seed: int = 0
    solver: str | None = None
    fps: float | None = None
    noise: str = "addressed"
    guidance_mode: str | None = None
    dtype: str | None = None
    device: str | None = None
    offload: str | None = None
    vae_tiling: bool = False
    attention: str | dict[str, Any] = "dense"
    recall: float | None = None
    propagate: str | dict[str, Any] = "off"
    motion: Motion | list[dict[str, Any]] | dict[str, Any] | str | PathLike[str] | None = None
    motion_strength: float | None = None
    motion_backend: str | None = None
    motion_picture: str | PathLike[str] | None = None
    story: Timeline | list[Any] | dict[Any, Any] | str | PathLike[str] | None = None
    seconds: float | None = None
    continuity: str | dict[str, Any] | Continuity | None = None
    window: int | None = None
    retries: int = 0

    def __post_init__(self) -> None:
        """InputError for what is wrong whatever the model. A motion becomes a `Motion`, its files' names absolute."""
        if isinstance(self.motion_picture, str | PathLike):
            object.__setattr__(self, "motion_picture", str(Path(self.motion_picture).expanduser().absolute()))
        for field in fields(self):
            _check_type(field.name, _plain(self, field.name))
        self._check_long()
        if not self.prompt.strip():
            raise InputError("the prompt is empty; say what the video shows, such as 'a red ball moves right'")
        for name in ("frames", "width", "height", "steps", "fps", "seconds", "window"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}={value} must be above 0")
        for name in ("guidance_scale", "guidance_scale_2", "fps", "recall", "seconds"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name}={value} must be a finite number of at least 0")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed={self.seed} must be from 0 to 2**63 - 1")
        for name, options in (("noise", NOISES), ("guidance_mode", GUIDANCES)):
            value = getattr(self, name)
            if value is not None and value not in options:
                raise InputError(f"{name}={value!r} is unknown; use {' or '.join(options)}")
        self.sparse_attention()
        self.propagation()
        self._check_motion()

    @property
    def moves(self) -> bool:
        """Whether a motion is asked for, of the whole clip or of a shot."""
        return self.motion is not None or (
            self.story is not None and any(shot.motion is not None for shot in self.timeline().shots)
        )

    @property
    def is_long(self) -> bool:
        """Whether this resolved request is made of several clips."""
        return self.continuity != OFF

    def timeline(self) -> Timeline:
        """What is shown when."""
        from videogen.timeline import Shot, Timeline

        assert self.story is None or isinstance(self.story, Timeline)
        return self.story or Timeline((Shot(self.prompt, Fraction(0), None),))

    def latent_timeline(self, geometry: LatentGeometry) -> LatentTimeline:
        """Of this resolved request, latent frame by latent frame; the last latent may reach beyond the clip's end."""
        from videogen.core.frame_latent_map import FrameLatentMap

        assert self.fps and self.frames
        frames = FrameLatentMap.from_geometry(geometry).round_up(self.frames)
        return self.timeline().compile(fps=self.fps, frames=frames, geometry=geometry, seed=self.seed)

    def continuity_for(self, clip: int) -> Continuity:
        """How a resolved long request's clips of so many latent frames hang together."""
        assert self.continuity is not None
        return Continuity.from_value(self.continuity).for_clip(clip)

    def _check_long(self) -> None:
        """Make a story a `Timeline`, and its first prompt the request's; InputError for what does not fit together."""
        from videogen.timeline import as_timeline

        if self.continuity not in (None, AUTO, OFF, MEASURED):
            Continuity.from_value(self.continuity)  # type: ignore[arg-type]
        if self.retries < 0:
            raise InputError(f"retries={self.retries} must be 0 or more")
        if self.seconds is not None and self.frames is not None:
            raise InputError(
                f"frames={self.frames} and seconds={self.seconds:g} both say how long the clip is; give one of them"
            )
        if self.story is None:
            return
        object.__setattr__(self, "story", as_timeline(self.story))
        if self.continuity == OFF:
            raise InputError(
                "a story has shots, which continuity='off' (one clip) cannot show; leave it out, or give one prompt"
            )
        first = self.timeline().shots[0].prompt
        if self.prompt not in ("", first):
            raise InputError(
                f"prompt {self.prompt!r} is given beside a story, which has its own; leave one of them out"
            )
        object.__setattr__(self, "prompt", first)

    @property
    def guided(self) -> bool:
        """Whether this resolved request takes two predictions a step."""
        return max(self.guidance_scale or 0.0, self.guidance_scale_2 or 0.0) > 1

    def _check_loaded(self, backbone: Backbone) -> None:
        """InputError where the request names another model, dtype or device than the one that is loaded."""
        dtype, device = str(backbone.dtype).removeprefix("torch."), backbone.device
        where = str(device) if ":" in (self.device or "") else device.type
        for name, asked, loaded in (
            ("model", self.model, backbone.name),
            ("dtype", self.dtype, dtype),
            ("device", self.device, where),
        ):
            if asked is not None and asked != loaded:
                raise InputError(
                    f"the request asks for {name}={asked!r}, this engine holds {loaded!r}; load that, or set {name}=None"
                )

    def as_run(self, backbone: Backbone) -> RenderRequest:
        """With the device and dtype that it ran on, for manifests and journals."""
        return replace(self, device=str(backbone.device), dtype=str(backbone.dtype).removeprefix("torch."))

    def sparse_attention(self) -> SparseAttention | None:
        """What `attention` and `recall` ask for; None for dense."""
        if isinstance(self.attention, str):
            return SparseAttention.parse(self.attention, self.recall)
        if self.recall is not None:
            raise InputError(f"recall={self.recall} is given beside attention={self.attention}; put it into that")
        return SparseAttention.from_dict(self.attention)

    def propagation(self) -> EncoderPropagation | LibraryCache | None:
        """What `propagate` asks for; None for off."""
        if isinstance(self.propagate, str):
            return LibraryCache.parse(self.propagate) or EncoderPropagation.parse(self.propagate)
        return EncoderPropagation.from_dict(self.propagate)

    def motion_spec(self) -> Motion | None:
        """What `motion` asks for; None for none."""
        assert self.motion is None or isinstance(self.motion, Motion)
        return self.motion

    def motion_control(self) -> MotionControl | None:
        """What `motion_backend` asks for; None: as the model can."""
        return None if self.motion_backend is None else MotionControl.parse(self.motion_backend)

    def _check_motion(self) -> None:
        from videogen.motion.layers import as_motion, to_layers

        if self.motion is not None:
            object.__setattr__(self, "motion", as_motion(self.motion))
            to_layers(self.motion_spec())  # type: ignore[arg-type]
        self.motion_control()
        strength = self.motion_strength
        if strength is not None and not 0 <= strength <= 1:
            raise InputError(f"motion_strength={strength} must be from 0 (none of it) to 1 (all)")
        if not self.moves:
            for name in ("motion_strength", "motion_backend", "motion_picture"):
                if getattr(self, name) is not None:
                    raise InputError(
                        f"{name}={getattr(self, name)!r} is given without a motion; say what moves: motion, camera or drag"
                    )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RenderRequest:
        """From a configuration file or manifest; an unknown key is an error that names the nearest."""
        check_keys(values, [f.name for f in fields(cls)])
        if "prompt" not in values and values.get("story") is None:
            raise InputError("no prompt; say what the video shows")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; a motion as its layers, see `videogen.motion.to_layers`."""
        from videogen.motion.layers import to_layers

        motion, story, continuity = self.motion_spec(), self.story, self.continuity
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["motion"] = None if motion is None else to_layers(motion)
        values["story"] = None if story is None else self.timeline().to_dict()
        values["continuity"] = continuity.to_dict() if isinstance(continuity, Continuity) else continuity
        return copy.deepcopy(values)

    def resolve(self, backbone: Backbone) -> RenderRequest:
        """Fill in what was left open from the model's defaults and check that the clip fits the model."""
        from videogen.core.frame_latent_map import FrameLatentMap
        from videogen.schedulers.solvers import check_solver, prediction_kind

        defaults = backbone.defaults
        filled = replace(
            self,
            negative_prompt=defaults.negative_prompt if self.negative_prompt is None else self.negative_prompt,
            frames=asked_frames(self, backbone),
            seconds=None,
            window=self.window or defaults.frames,
            width=self.width or defaults.width,
            height=self.height or defaults.height,
            steps=self.steps or defaults.steps,
            fps=self.fps or defaults.fps,
            guidance_scale=defaults.guidance_scale if self.guidance_scale is None else self.guidance_scale,
            guidance_mode=self.guidance_mode or backbone.native_guidance,
            model=backbone.name,
        )
        self._check_loaded(backbone)
        filled = with_continuity(filled, backbone)
        if self.seconds is not None and not filled.is_long:
            filled = replace(
                filled, frames=FrameLatentMap.from_geometry(backbone.geometry).round_up(filled.frames or 1)
            )
        if filled.is_long:
            filled = with_long_motion(filled, backbone)
        elif self.motion is not None:
            from videogen.motion.layers import moves_whole

            spec = self.motion_spec()
            whole = spec is not None and moves_whole(spec)
            training = backbone.training
            backend = training.motion_backend(is_global=whole) if self.motion_picture is None else "dual_clock"
            requested = self.motion_control() or MotionControl(backend)
            control = requested.with_clocks(*training.dual_clock_levels(is_global=whole))
            strength = STRENGTHS[control.backend] if self.motion_strength is None else self.motion_strength
            filled = replace(filled, motion_backend=str(control), motion_strength=strength)
        if not filled.guided:
            if (self.negative_prompt or "").strip():
                raise InputError(
                    f"a negative prompt has no effect with guidance_scale={filled.guidance_scale:g}; raise it above 1"
                )
            filled = replace(filled, negative_prompt="")
        if filled.guidance_scale_2 is not None and backbone.capabilities.experts < 2:
            raise UnsupportedError(f"guidance_scale_2 is for models with two experts; {backbone.name!r} has one")
        check_solver(filled.solver, prediction_kind(backbone.scheduler))
        assert filled.frames and filled.width and filled.height and filled.steps
        finest = backbone.scheduler.config.num_train_timesteps
        if filled.steps > finest:
            raise InputError(
                f"steps={filled.steps}: {backbone.name!r} was trained with {finest} noise levels; use at most {finest}"
            )
        frames = filled.window if filled.is_long else filled.frames
        assert frames
        backbone.geometry.check(frames, filled.height, filled.width, backbone.name)
        if filled.is_long:
            filled.latent_timeline(backbone.geometry)
        return filled


_TYPES: dict[str, tuple[type, ...]] = {
    "prompt": (str,),
    "seed": (int,),
    "frames": (int,),
    "width": (int,),
    "height": (int,),
    "steps": (int,),
    "guidance_scale": (int, float),
    "guidance_scale_2": (int, float),
    "fps": (int, float),
    "vae_tiling": (bool,),
    "attention": (str, dict),
    "recall": (int, float),
    "propagate": (str, dict),
    "motion": (Motion, list, dict, str, PathLike),
    "motion_strength": (int, float),
    "story": (object,),
    "seconds": (int, float),
    "continuity": (str, dict, Continuity),
    "window": (int,),
    "retries": (int,),
}


def _plain(request: RenderRequest, name: str) -> Any:
    """A field's value; a NumPy or torch scalar becomes Python's own."""
    value = getattr(request, name)
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
        object.__setattr__(request, name, value)
    return value


def _check_type(name: str, value: Any) -> None:
    if value is None and name not in ("prompt", "seed", "noise", "vae_tiling", "attention", "propagate", "retries"):
        return
    allowed = _TYPES.get(name, (str,))
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        wanted = " or ".join(t.__name__ for t in allowed)
        raise InputError(f"{name}={value!r} must be {wanted}, not {type(value).__name__}")
