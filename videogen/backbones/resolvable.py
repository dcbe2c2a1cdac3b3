"""What a request is resolved against: a model's defaults, geometry, limits and capabilities, whether loaded or not.

`Backbone` is a loaded model; `configured.ConfiguredModel` knows a model from its configuration files alone, so that
what it cannot serve is refused at once. Importing this loads no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from videogen.core.errors import InputError
from videogen.schedulers.solver import NoiseSchedule

from .clip_spec import ClipSpec
from .defaults import Capabilities, Defaults, Training
from .geometry import ClipLimits, LatentGeometry
from .hosting.techniques_table import Refusal


class ResolvableModel(ABC):
    """name: the folder or hub id, or an embedded model's name; family: of the registry; native_guidance: how the
    family's own pipeline evaluates guidance, `sequential` or `batched`; compile, channels_last: how the model was
    loaded, see `LoadOptions`."""

    compile: bool | str = False
    channels_last: bool = False
    name: str
    family: str = ""
    native_guidance: str
    defaults: Defaults
    training: Training
    #: fields of a request -> from where else the model's components are loaded (`checkpoints.sources.ModelSources`)
    sources: Mapping[str, str] = MappingProxyType({})

    @property
    @abstractmethod
    def device(self) -> object:
        """Where the model computes; its text is the device's name."""

    @property
    @abstractmethod
    def dtype(self) -> object:
        """The dtype that the denoiser computes in; its text is that of torch's."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the architecture can do beyond text to video."""

    @property
    @abstractmethod
    def geometry(self) -> LatentGeometry:
        """The VAE's compression, and the sizes that fit."""

    @property
    @abstractmethod
    def limits(self) -> ClipLimits:
        """The longest and largest clip for which the model has positions."""

    @property
    @abstractmethod
    def noise_schedule(self) -> NoiseSchedule:
        """What the checkpoint predicts and how it was noised in training."""

    @property
    @abstractmethod
    def has_temporal_blocks(self) -> bool:
        """Whether it has layers that attend over frames alone, with positions counted from 0."""

    @property
    def accepts(self) -> tuple[str, ...]:
        """Conditions besides the prompt that a clip can be made from, as keys of `Given`; `control:` for any name."""
        return ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Those without which there is no clip; alternatives are joined by `|`."""
        return ()

    def refusal(self, technique: str, given: Sequence[str] = ()) -> Refusal | None:
        """Why a technique, a key of `hosting.techniques_table.TECHNIQUES`, cannot run with these conditions; None where
        nothing in the pipeline rules it out."""
        return None

    @property
    def takes_prompt(self) -> bool:
        """Whether the model reads a prompt."""
        return True

    @property
    def tiles_vae(self) -> bool:
        """Whether the VAE can decode in tiles."""
        return True

    def ignores_negative_prompt(self, scale: float, options: Mapping[str, Any]) -> str:
        """Why a negative prompt has no effect with this guidance scale and these options, to follow "has no effect";
        empty where it has one."""
        return "" if scale > 1 else f"with guidance_scale={scale:g}; raise it above 1"

    @property
    def takes_any_size(self) -> bool:
        """Whether a clip may have another size than the default one, such as that of an image it is made from."""
        return True

    @property
    def continues_video(self) -> bool:
        """Whether a given video is the beginning of the clip, or a reference, rather than as long as the clip."""
        return False

    def keeps_size(self, kind: str, name: str = "") -> bool:
        """Whether a condition is given as large as it is, and not in the clip's size."""
        return kind == "references"

    @property
    def option_names(self) -> tuple[str, ...]:
        """Arguments of the model's own pipeline that a request may set as `options`."""
        return ()

    def check_options(self, options: Mapping[str, Any]) -> None:
        """InputError for an option that the model does not take."""
        for name in options:
            raise InputError(
                f"option {name}={options[name]!r}: {self.name!r} takes no options of its own; leave it out"
            )

    @property
    def single_pass_frames(self) -> int:
        """The most frames of a clip that is generated in one pass by default: the native length, or more where the
        model was measured to be as good. Longer videos are made of several clips."""
        return max(self.defaults.frames, self.training.single_pass_frames)

    @property
    def takes_clean_prefix(self) -> bool:
        """Whether a clip can continue from finished frames: the architecture and the training both allow it."""
        return self.capabilities.per_frame_timesteps and self.training.clean_prefix

    @property
    def in_sections(self) -> bool:
        """Whether a clip is made in sections, each with a loop and a number of steps of its own."""
        return False

    def fit(self, spec: ClipSpec) -> ClipSpec:
        """The clip as this model can generate it. InputError, with what fits, for a size, length or number of steps
        that does not."""
        self.check_options(spec.options)
        finest = self.noise_schedule.train_steps
        if spec.steps > finest:
            raise InputError(
                f"steps={spec.steps}: {self.name!r} was trained with {finest} noise levels; use at most {finest}"
            )
        for rule in (self.geometry, self.limits):
            rule.check(spec.frames, spec.height, spec.width, self.name)
        return spec
