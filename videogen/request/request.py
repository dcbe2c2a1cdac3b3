"""Render request: one frozen, checked and storable description of a render. No torch here.

Every field is also a key of a configuration file or preset. Fields that are left unset are filled in by `resolve`,
which makes a `ResolvedRequest` for one loaded model.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, cast

from videogen.attention.config import SparseAttention, with_policy
from videogen.backbones.load_options import LoadOptions
from videogen.backbones.lora.embedding_spec import Embedding, read_embeddings
from videogen.backbones.lora.spec import Lora, read_loras
from videogen.core.errors import InputError
from videogen.core.files import absolute_name
from videogen.core.keywords import suggest_keywords
from videogen.core.tables import check_keys
from videogen.motion.control import MotionControl
from videogen.motion.spec import Motion
from videogen.propagation.caches import LibraryCache
from videogen.propagation.config import StepCaching
from videogen.request.continuity import AUTO, MEASURED, OFF, Continuity

from .conditions import Conditions
from .field_checks import check_types, check_values
from .model_sources import name_sources
from .plain_data import to_plain
from .resolve import resolve
from .stored import with_current_settings

if TYPE_CHECKING:
    from videogen.backbones.resolvable import ResolvableModel
    from videogen.timeline import Timeline

    from .resolved import ResolvedRequest

_DRAWN_SEEDS = 2**31  # of seed=None: short enough to copy


@suggest_keywords
@dataclass(frozen=True)
class RenderRequest:
    """A render. None means the model's default. width, height and window sizes are in px and frames.

    guidance_scale_2: of a low-noise expert; None: guidance_scale. Each expert is guided where its own scale is above 1;
    diffusers' pipeline guides neither unless guidance_scale is.

    seed: of all noise; None draws one, which the request then has. noise: `addressed`, or `diffusers` to draw it as the
    library's pipelines do.

    compile, channels_last: as for `Engine.load`. validate: compare sampled rows of each attention kernel with a
    reference before step 2, and the VAE and text encoder once; a kernel that is wrong is replaced, or with strict
    stops the run. It changes no frame of a run whose kernels are correct.

    attention: a `videogen.attention.SparseAttention`, its fields as a dict, or a spec that it parses, such as
    `adaptive` (promises `recall`). propagate: `off`, `max_error:E`, `fd`, `every:N`, `deepcache:N`, a cache of
    diffusers such as `first-block:0.08`, or the configuration itself: a `videogen.propagation.StepCaching`, its
    fields as a dict, or a `videogen.propagation.caches.LibraryCache`.

    motion: a `videogen.motion` specification, its layers as a list of dicts, or a TOML plan's path. motion_strength: 0
    (the plain render) to 1; for warped_noise the retained correlation with the warped noise (default 0.9), for
    dual_clock the weight of the warped first frame (default 1). motion_backend: `warped_noise[:METHOD[,cutoff=C]]`,
    `dual_clock[:WEAK,STRONG]` or a `motion.control.MotionControl`. first_frame: file of the image that dual_clock
    warps, of the clip's size; None: the plain render's first frame.

    Beyond the model's native length: story: prompts over time in place of the prompt (any form of
    `videogen.timeline.as_timeline`); seconds: the length, in place of frames; continuity: how clips are joined, `auto`,
    `measured` (the best of a trial of a few seconds), `off` (one clip of any length), a policy of
    `videogen.request.continuity.Continuity`, or its fields as a dict; window: frames that the model generates at once
    (None: its native length); retries: how often at most a segment is regenerated that has a visible seam, freezes,
    drifts or repeats.

    conditions: what the video is made from besides its prompt, a `videogen.request.conditions.Conditions` or its fields
    as a dict (`Engine.generate` takes each as a keyword: image, last_image, video, ...); options: arguments of the
    model's own pipeline that no other field states, such as {"motion_bucket_id": 127}.

    memory: bytes of the device that the render may take, such as `12GB`; None: as much as there is, without a plan.

    base, revision, transformer, transformer_2, unet, vae, text_encoder, motion_adapter: from where the model and its
    components are loaded, as in `videogen.backbones.load_options.LoadOptions`.
    precision: how the denoiser's weights are stored, as for `Engine.load`.
    loras: a list of LoRA files, each as `[EXPERT=]FILE[:WEIGHT][@START-END]`, a `videogen.Lora`, or its fields as a
    dict: its weight, the fractions of the steps between which it is on, and `high` or `low` for one of two experts.
    embeddings: a list of textual inversions, each as `[TOKEN=]FILE` or a dict. shift: of a flow model's noise levels
    towards noise, in place of the checkpoint's.
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
    seed: int | None = 0
    solver: str | None = None
    fps: float | None = None
    noise: str = "addressed"
    guidance_mode: str | None = None
    dtype: str | None = None
    device: str | None = None
    offload: str | None = None
    compile: bool | str = False
    channels_last: bool = False
    vae_tiling: bool = False
    validate: bool = True
    strict: bool = False
    attention: str | dict[str, Any] | SparseAttention = "dense"
    recall: float | None = None
    propagate: str | dict[str, Any] | StepCaching | LibraryCache = "off"
    motion: Motion | list[dict[str, Any]] | dict[str, Any] | str | PathLike[str] | None = None
    motion_strength: float | None = None
    motion_backend: str | MotionControl | None = None
    first_frame: str | PathLike[str] | None = None
    story: Timeline | list[Any] | dict[Any, Any] | str | PathLike[str] | None = None
    seconds: float | None = None
    continuity: str | dict[str, Any] | Continuity | None = None
    window: int | None = None
    retries: int = 0
    conditions: Conditions | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    memory: str | int | None = None
    base: str | PathLike[str] | None = None
    revision: str | None = None
    transformer: str | PathLike[str] | None = None
    transformer_2: str | PathLike[str] | None = None
    unet: str | PathLike[str] | None = None
    vae: str | PathLike[str] | None = None
    text_encoder: str | PathLike[str] | None = None
    motion_adapter: str | PathLike[str] | None = None
    precision: str | None = None
    loras: list[Any] | tuple[Any, ...] | None = None
    embeddings: list[Any] | tuple[Any, ...] | None = None
    shift: float | None = None

    def __post_init__(self) -> None:
        """InputError for what is wrong for every model. A motion becomes a `Motion`, a story a `Timeline`, and the
        names of files absolute."""
        if isinstance(self.first_frame, str | PathLike):
            object.__setattr__(self, "first_frame", absolute_name("first_frame", self.first_frame))
        for name, value in name_sources(self).items():
            object.__setattr__(self, name, value)
        if self.seed is None:
            object.__setattr__(self, "seed", secrets.randbelow(_DRAWN_SEEDS))
        if self.conditions is not None:
            object.__setattr__(self, "conditions", Conditions.from_value(self.conditions))
        if self.loras is not None:
            object.__setattr__(self, "loras", read_loras(self.loras))
        if self.embeddings is not None:
            object.__setattr__(self, "embeddings", read_embeddings(self.embeddings))
        for name, value in check_types(self).items():
            object.__setattr__(self, name, value)
        if isinstance(self.attention, dict):
            object.__setattr__(self, "attention", with_policy(self.attention))
        self._check_long()
        check_values(self)
        _ = self.sparse_attention, self.propagation
        self._check_motion()

    def load_options(self, **changes: Any) -> LoadOptions:
        """How the model is loaded: the request's fields of these names. changes: options that no request has.
        InputError for a value that no model can be loaded with."""
        names = [field.name for field in fields(LoadOptions) if hasattr(self, field.name)]
        return LoadOptions(**{name: getattr(self, name) for name in names}, **changes)

    @property
    def given(self) -> Conditions:
        """The conditions, none where none are given."""
        return Conditions() if self.conditions is None else cast(Conditions, self.conditions)

    @property
    def given_loras(self) -> tuple[Lora, ...]:
        """The LoRAs, none where none are given."""
        return () if self.loras is None else cast("tuple[Lora, ...]", self.loras)

    @property
    def given_embeddings(self) -> tuple[Embedding, ...]:
        """The textual inversions, none where none are given."""
        return () if self.embeddings is None else cast("tuple[Embedding, ...]", self.embeddings)

    @property
    def moves(self) -> bool:
        """Whether a motion is requested, for the entire clip or for a shot."""
        return self.motion is not None or (self.story is not None and self.timeline.moves)

    @cached_property
    def timeline(self) -> Timeline:
        """The story, or one shot of the prompt."""
        from videogen.timeline import Timeline

        return Timeline.from_prompt(self.prompt) if self.story is None else cast(Timeline, self.story)

    @cached_property
    def sparse_attention(self) -> SparseAttention | None:
        """The configuration that `attention` and `recall` describe; None for dense. InputError where they do not
        fit."""
        if isinstance(self.attention, str):
            return SparseAttention.parse(self.attention, self.recall)
        if self.recall is not None:
            raise InputError(
                f"recall={self.recall} is given together with attention={self.attention}; put the recall into that"
            )
        return (
            self.attention if isinstance(self.attention, SparseAttention) else SparseAttention.from_dict(self.attention)
        )

    @cached_property
    def propagation(self) -> StepCaching | LibraryCache | None:
        """The configuration that `propagate` describes; None for off."""
        if isinstance(self.propagate, str):
            return LibraryCache.parse(self.propagate) or StepCaching.parse(self.propagate)
        return StepCaching.from_dict(self.propagate) if isinstance(self.propagate, dict) else self.propagate

    @property
    def motion_spec(self) -> Motion | None:
        """`motion`, which is a `Motion` once the request is made."""
        return cast("Motion | None", self.motion)

    @cached_property
    def motion_control(self) -> MotionControl | None:
        """The backend that `motion_backend` describes; None for the model's default."""
        return MotionControl.parse(self.motion_backend) if isinstance(self.motion_backend, str) else self.motion_backend

    def resolve(self, backbone: ResolvableModel) -> ResolvedRequest:
        """With every field set for this model. InputError or UnsupportedError where the request does not fit it."""
        return resolve(self, backbone)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RenderRequest:
        """From a configuration file or manifest, also an older one. InputError that names the nearest key for an
        unknown key."""
        values = with_current_settings(values)
        check_keys(values, [field.name for field in fields(cls)])
        if "prompt" not in values and values.get("story") is None and not values.get("conditions"):
            raise InputError("no prompt; say what the video shows")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; a motion as its layers, see `videogen.motion.to_layers`."""
        return {field.name: to_plain(getattr(self, field.name)) for field in fields(self)}

    def _check_long(self) -> None:
        """Make a story a `Timeline`, and its first prompt the request's. InputError for fields that exclude each
        other."""
        from videogen.timeline import as_timeline

        if self.continuity is not None and self.continuity not in (AUTO, OFF, MEASURED):
            Continuity.from_value(self.continuity)
        if self.retries < 0:
            raise InputError(f"retries={self.retries} must be 0 or more")
        if self.seconds is not None and self.frames is not None:
            raise InputError(
                f"frames={self.frames} and seconds={self.seconds:g} both set the length of the video; give one of them"
            )
        if self.story is None:
            return
        object.__setattr__(self, "story", as_timeline(self.story))
        if self.continuity == OFF:
            raise InputError(
                "a story has shots, which continuity='off' (one clip) cannot show; leave it out, or give one prompt"
            )
        first = self.timeline.shots[0].prompt
        if self.prompt not in ("", first):
            raise InputError(
                f"prompt={self.prompt!r} is given together with a story, which has its own; leave one of them out"
            )
        object.__setattr__(self, "prompt", first)

    def _check_motion(self) -> None:
        from videogen.motion.serialisation import as_motion, to_layers

        if self.motion is not None:
            motion = as_motion(self.motion)
            object.__setattr__(self, "motion", motion)
            to_layers(motion)
        _ = self.motion_control
        if self.motion_strength is not None and not 0 <= self.motion_strength <= 1:
            raise InputError(f"motion_strength={self.motion_strength} must be from 0 (no motion) to 1 (full motion)")
        if self.moves:
            return
        for name in ("motion_strength", "motion_backend", "first_frame"):
            if getattr(self, name) is not None:
                raise InputError(
                    f"{name}={getattr(self, name)!r} is given without a motion; add one: motion, camera or drag"
                )
