"""Hosted backbone: a pipeline class of diffusers with a row in the table, run by its own code.

The pipeline does prompts, conditions, guidance, the layout of its latents and their decoding; the engine decides which
step is made when, with which latents and noise. Legend: latents [batch, channel, frame, height, width].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from videogen.attention.order import TokenGrid
from videogen.core.denoisers import find_denoisers
from videogen.core.errors import UnsupportedError
from videogen.schedulers.diffusers_scheduler import build_scheduler, with_shift
from videogen.schedulers.diffusers_solver import DiffusersSolver
from videogen.schedulers.noise.source import NoiseSource
from videogen.schedulers.solver import Solver

from ..anatomy import anatomy_of, patch_of
from ..base import Backbone
from ..clip import Clip, ClipSpec
from ..codecs.codec import Codec, build_codec, enable_needed_tiling, find_codec_row
from ..conditioning import Conditioning, PromptReading, PromptTexts
from ..defaults import Capabilities
from ..geometry import ClipLimits, LatentGeometry
from ..streaming import StreamDecoder
from .arguments import (
    build_arguments,
    check_options,
    ignores_negative_prompt,
    length_parameter,
    option_names,
    parameters_of,
    rate_parameter,
    takes_guidance,
)  # fmt: skip
from .blended_clip import BlendedClip
from .control_nets import control_nets, name_controls
from .draws import Draws
from .hosted_clip import HostedClip
from .layout import Layout
from .lengths import call_length, check_length
from .lent_loop import LentLoop
from .loop_form import read_loop_form
from .pipeline_row import DRIVEN, PipelineRow
from .pipelines import PIPELINES
from .strengths import check_strength
from .techniques_table import Refusal, find_checkpoint_refusal, find_refusal
from .windowed_clip import WindowedClip

_SPATIAL = ("vae_scale_factor_spatial", "vae_spatial_compression_ratio", "vae_spatial_scale_factor", "vae_scale_factor")
_TEMPORAL = ("vae_scale_factor_temporal", "vae_temporal_compression_ratio", "vae_temporal_scale_factor")
_CHANNELS = ("z_dim", "latent_channels")
_NO_LIMIT = 1 << 30


class HostedBackbone(Backbone):
    """Over any pipeline with a row in `pipelines.PIPELINES`."""

    native_guidance = "pipeline"

    def __init__(
        self,
        pipeline: Any,
        name: str,
        digest: str,
        defaults: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        self.row = self._row_of(pipeline)
        self.family = self.row.lineage
        self._class = self._class_of(pipeline)
        super().__init__(pipeline, name, digest, defaults, training)
        self._check_vae_scale()
        enable_needed_tiling(getattr(pipeline, "vae", None))

    def _check_vae_scale(self) -> None:
        """UnsupportedError where the pipeline prepares latents of another size than its VAE has."""
        vae = getattr(self.pipeline, "vae", None)
        if find_codec_row(vae) is None or self.codec.spatial == self.geometry.spatial:
            return
        raise UnsupportedError(
            f"{self.row.name} prepares latents of {self.geometry.spatial} px, but the VAE of {self.name!r} has "
            f"{self.codec.spatial} px per latent; give the pipeline the VAE that its checkpoints are published with"
        )

    def _row_of(self, pipeline: Any) -> PipelineRow:
        return PIPELINES[_class_name(pipeline)]

    def _class_of(self, pipeline: Any) -> type:
        """The class whose call is hosted."""
        return _hosted_class(pipeline)

    @property
    def _call(self) -> Any:
        """What the call's parameters are read from."""
        return self._class

    def family_defaults(self) -> dict[str, Any]:
        """From the call's signature; the row's where it has none, and the denoiser's sample size."""
        row, found = self.row, {name: given.default for name, given in parameters_of(self._call).items()}
        length, rate = length_parameter(self._call), rate_parameter(self._call)
        width, height = self._native_size()
        guider = getattr(self.pipeline, "guider", None)
        scale = found.get("guidance_scale", row.guidance_scale or getattr(guider, "guidance_scale", None))
        negative = found.get("negative_prompt")
        return {
            "frames": row.frames or _number(found.get(length or "")) or 16,
            "width": row.width or _number(found.get("width")) or width,
            "height": row.height or _number(found.get("height")) or height,
            "fps": int(_number(found.get(rate or "")) or row.fps),
            "steps": row.steps or _number(found.get("num_inference_steps")) or 50,
            "guidance_scale": float(scale) if isinstance(scale, int | float) else 1.0,
            "negative_prompt": negative if isinstance(negative, str) else "",
        }

    @property
    def accepts(self) -> tuple[str, ...]:
        single = self._encoded_images == 1
        taken = [key for key in self.row.conditions if not (single and key == "last_image")]
        return name_controls(taken, control_nets(self.pipeline))

    @property
    def needs(self) -> tuple[str, ...]:
        both = self._encoded_images == 2
        needed = (*self.row.needs, "last_image") if both and "last_image" in self.row.inputs else self.row.needs
        return name_controls(needed, control_nets(self.pipeline))

    @property
    def _encoded_images(self) -> int | None:
        """How many images the denoiser takes from an image encoder, which differs between checkpoints of Wan's
        lineage; None where that is open."""
        config = self._denoiser_config()
        if not config.get("image_dim") or "pos_embed_seq_len" not in config:
            return None
        return 2 if config["pos_embed_seq_len"] else 1

    def batches(self, conditions: Sequence[str] = ()) -> bool:
        return self.row.batches and set(conditions) <= set(self.row.batched_inputs)

    def refusal(self, technique: str, given: Sequence[str] = ()) -> Refusal | None:
        found = find_refusal(self.row, technique, given)
        return found or find_checkpoint_refusal(technique, self._denoiser_config(), self.accepts)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(own_guidance=True)

    @property
    def takes_prompt(self) -> bool:
        return "prompt" in parameters_of(self._call)

    def ignores_negative_prompt(self, scale: float, options: Mapping[str, Any]) -> str:
        return ignores_negative_prompt(self._call, scale, options)

    @property
    def tiles_vae(self) -> bool:
        return hasattr(getattr(self.pipeline, "vae", None), "use_tiling")

    @property
    def takes_any_size(self) -> bool:
        return not self._denoiser_config().get("use_learned_positional_embeddings")

    @property
    def continues_video(self) -> bool:
        return self.row.continues

    def keeps_size(self, kind: str, name: str = "") -> bool:
        return (f"{kind}:{name}" if name else kind) in self.row.own_size

    @property
    def option_names(self) -> tuple[str, ...]:
        return tuple(option_names(self._call, self.row))

    def check_options(self, options: Mapping[str, Any]) -> None:
        check_options(self._call, self.row, options)

    @property
    def geometry(self) -> LatentGeometry:
        spatial = int(_first(self.pipeline, _SPATIAL, 8))
        temporal = self.row.temporal or int(_first(self.pipeline, _TEMPORAL, 1))
        vae = getattr(self.pipeline, "vae", None)
        config = vae.config if vae is not None else self._denoiser_config()
        channels = int(next((config[name] for name in _CHANNELS if name in config), config.get("in_channels", 4)))
        multiple = self.row.multiple or spatial * patch_of(self._denoiser_config())[2]
        padded = self.row.pads_latents or not self._denoiser_config().get("patch_size_t")
        causal = self.row.causal and temporal > 1 and padded
        return LatentGeometry(
            channels, spatial, temporal, multiple, causal, self.row.latent_step, *self.row.vae_segments
        )

    @property
    def limits(self) -> ClipLimits:
        config, geometry, frames = self._denoiser_config(), self.geometry, self.temporal_positions
        positions = anatomy_of(self.denoisers()[0]).positions
        if positions is None:
            return ClipLimits(frames)
        counts = zip(positions(config), patch_of(config), strict=True)
        length, height, width = (count * size for count, size in counts)  # in latents
        if not self.row.sections:  # otherwise no call of the model sees the entire clip
            frames = geometry.frame_map.frame_count(length)
        return ClipLimits(frames, height * geometry.spatial, width * geometry.spatial)

    @property
    def temporal_positions(self) -> int | None:
        found = self._denoiser_config().get("motion_max_seq_length")
        return None if found is None else int(found)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(iter(self.denoisers())).dtype
        return dtype

    def build_solver(self, name: str | None, steps: int, shift: float | None = None) -> Solver:
        """The scheduler, with nominal timesteps: the pipeline sets its own when a clip is opened."""
        scheduler = build_scheduler(name, with_shift(self.scheduler, shift), shifts=True)
        for options in ({}, {"mu": 1.0}):
            with suppress(Exception):
                scheduler.set_timesteps(steps, device=self.device, **options)
                return DiffusersSolver(scheduler)
        return DiffusersSolver(scheduler)

    def fit(self, spec: ClipSpec) -> ClipSpec:
        if spec.guidance_scale > 1 and not takes_guidance(self._call):
            raise UnsupportedError(
                f"guidance_scale={spec.guidance_scale:g}: {self.row.name} takes none; leave it out, or give 1"
            )
        fitted = super().fit(spec)
        check_length(self.pipeline, self.row, fitted, self.name)
        check_strength(self._call, fitted, self.name)
        return fitted

    def open(self, spec: ClipSpec, text: object, sources: Sequence[NoiseSource], solver: Solver) -> Clip:
        assert isinstance(text, PromptTexts)
        if text.blends:
            return self._open_blended(spec, text, sources, solver)
        if not isinstance(solver, DiffusersSolver):
            raise UnsupportedError(
                f"solver {solver.name!r} is the engine's own; {self._class.__name__} steps a diffusers scheduler: name "
                "another"
            )
        frames = spec.window_frames or spec.frames
        _, _, *size = self.geometry.shape(frames, spec.height, spec.width)
        extent, behind = (size[0], size[1], size[2]), self.row.extras_behind
        draws = Draws(sources, Layout(self.row.noise, extent, behind=behind), self._noise_draw(spec))
        loop = self._lend_loop(solver.fresh_scheduler(), draws, len(sources))
        given = replace(spec, frames=call_length(self.pipeline, self.row, frames, spec.options))
        arguments = build_arguments(loop.pipeline, self.row, given, text.prompts, text.negatives)
        arguments["generator"] = draws.generator
        layout = Layout(self.row.latents, extent, behind=behind, patch=patch_of(self._denoiser_config())[2])
        scale, driven, options = spec.guidance_scale, self.row.mode == DRIVEN, spec.options
        if frames < spec.frames and not driven:
            count = self.geometry.shape(spec.frames, spec.height, spec.width)[2]
            return WindowedClip(loop, arguments, layout, sources, count, scale, options)
        return HostedClip(loop, arguments, layout, in_order=driven, guidance_scale=scale, options=options)

    def _open_blended(
        self, spec: ClipSpec, text: PromptTexts, sources: Sequence[NoiseSource], solver: Solver
    ) -> BlendedClip:
        """One clip of several prompts."""
        clips: list[Clip] = []
        try:
            for prompts in (text.prompts, *(prompts for prompts, _ in text.blends)):
                clips.append(self.open(spec, PromptTexts(prompts, text.negatives), sources, solver))
        except BaseException:
            for clip in clips:
                clip.close()
            raise
        return BlendedClip(clips, [weight for _, weight in text.blends])

    def _noise_draw(self, spec: ClipSpec) -> int:
        """Which draw of a clip's generator is the initial noise."""
        return self.row.noise_draw

    def _lend_loop(self, scheduler: Any, draws: Draws, batch: int) -> LentLoop:
        """A run of the pipeline that has not begun."""
        form = read_loop_form(self._class, self.row.method)
        return LentLoop(self.pipeline, form, scheduler, draws, self.denoisers(), batch)

    def denoisers(self) -> list[Any]:
        return list(find_denoisers(self.pipeline).values())

    def token_grid(self, latents_shape: Sequence[int]) -> TokenGrid:
        frames, height, width = patch_of(self._denoiser_config())
        return TokenGrid(-(-latents_shape[2] // frames), latents_shape[3] // height, latents_shape[4] // width)

    @property
    def dense_only(self) -> str:
        return anatomy_of(self.denoisers()[0]).dense_only

    @property
    def in_sections(self) -> bool:
        return self.row.sections

    @property
    def text_limit(self) -> int:
        given = parameters_of(self._call).get("max_sequence_length")
        if given is not None and isinstance(given.default, int):
            return given.default
        tokenizer = getattr(self.pipeline, "tokenizer", None)
        return int(tokenizer.model_max_length) if tokenizer is not None else _NO_LIMIT

    def read_prompt(self, prompt: str) -> PromptReading:
        if not callable(getattr(self.pipeline, "tokenizer", None)):
            return PromptReading(0, self.text_limit)
        return super().read_prompt(prompt)

    def condition(self, prompts: Sequence[str], negatives: Sequence[str] | None) -> PromptTexts:
        """The prompts as they are: the pipeline encodes them itself."""
        return PromptTexts(tuple(prompts), None if negatives is None else tuple(negatives))

    def encode_prompt(self, prompts: Sequence[str], negatives: Sequence[str] | None) -> Conditioning:
        raise UnsupportedError(f"{self._class.__name__} encodes its prompts itself")

    def start(self, noise: torch.Tensor, solver: Solver) -> torch.Tensor:
        raise UnsupportedError(f"{self._class.__name__} prepares its latents itself")

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor, expert: int = 0
    ) -> torch.Tensor:
        raise UnsupportedError(f"{self._class.__name__} calls its model itself; open a clip and use its predict")

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.codec.decode(latents)

    def stream_decoder(self, length: int | None = None) -> StreamDecoder:
        return self.codec.stream(length)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return self.codec.encode(frames)

    @property
    def codec(self) -> Codec:
        """UnsupportedError, with the reason, for a VAE that only the pipeline itself can use."""
        return build_codec(self.pipeline, self.family)

    def _denoiser_config(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = self.denoisers()[0].config
        return config

    def _native_size(self) -> tuple[int, int]:
        """(width, height) in px that the denoiser's configuration names."""
        config, spatial = self._denoiser_config(), int(_first(self.pipeline, _SPATIAL, 8))
        side = config.get("sample_size")
        if isinstance(side, int):
            side = (side, side)
        height, width = side or (config.get("sample_height") or 64, config.get("sample_width") or 64)
        return int(width) * spatial, int(height) * spatial


def _class_name(pipeline: Any) -> str:
    return next(kind.__name__ for kind in type(pipeline).__mro__ if kind.__name__ in PIPELINES)


def _hosted_class(pipeline: Any) -> type:
    """The library's own class: an outline, or a user's subclass that keeps the call, has it as a base."""
    kind = type(pipeline)
    name = _class_name(pipeline)
    found = next(base for base in kind.__mro__ if base.__name__ == name)
    return kind if "__call__" in vars(kind) else found


def _first(owner: Any, names: Sequence[str], default: int) -> Any:
    return next((value for name in names if isinstance(value := getattr(owner, name, None), int | float)), default)


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
