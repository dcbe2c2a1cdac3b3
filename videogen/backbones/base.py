"""Backbone contract: what a model family implements, the border between the engine and diffusers' models.

A backbone never loops, schedules, writes files or reads flags. Tensors at this border: latents [batch, channel, frame,
height, width]; frames uint8 [batch, frame, height, width, 3] RGB.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from videogen.attention.order import TokenGrid
from videogen.core.errors import InputError, UnsupportedError
from videogen.schedulers.diffusers_scheduler import with_shift
from videogen.schedulers.diffusers_solver import read_noise_schedule
from videogen.schedulers.noise.source import NoiseSource
from videogen.schedulers.solver import NoiseSchedule, Solver
from videogen.schedulers.solvers import build_solver

from .clip import Clip
from .clip_spec import ClipSpec
from .conditioning import ClipText, Conditioning, PromptReading
from .defaults import Defaults, Training
from .geometry import ClipLimits
from .guided import GuidedClip
from .lora.adaptation import Adaptation
from .prompt_grammar import GRAMMARS
from .resolvable import ResolvableModel
from .streaming import StreamDecoder


class Backbone(ResolvableModel):
    """One loaded model. Subclasses hold a diffusers pipeline for its components; they never call it."""

    family: str
    #: Of a pipeline in memory: what its files have too once they are loaded with its dtype. Empty for loaded models.
    components_digest: str = ""
    #: field of a request -> commit that it was loaded from, of what comes from the hub
    revisions: Mapping[str, str] = MappingProxyType({})
    #: of an outline: configurations of the components that it leaves out, such as text encoders, with `_class_name`
    left_out: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    def __init__(
        self,
        pipeline: Any,
        name: str,
        digest: str,
        defaults: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        """defaults, training: fields that the checkpoint overrides, see `read_defaults`."""
        self.pipeline, self.name, self.digest = pipeline, name, digest
        self.defaults = Defaults(**{**self.family_defaults(), **(defaults or {})})
        self.training = Training(**{**self.family_training(), **(training or {})})
        self.adaptation = Adaptation(self)

    @property
    def device(self) -> torch.device:
        """Where the model computes, also if its parts rest elsewhere when idle."""
        return torch.device(self.pipeline._execution_device)

    @property
    def identity(self) -> dict[str, str]:
        """Which model this is, for journals."""
        return {"name": self.name, "family": self.family, "hash": self.digest}

    @property
    def recorded_identity(self) -> dict[str, Any]:
        """Which model this is, for manifests: with `components_hash` where the hash is not that of files, and with the
        commits of what comes from the hub."""
        in_memory = {"components_hash": self.components_digest} if self.components_digest else {}
        return self.identity | in_memory | ({"revisions": dict(self.revisions)} if self.revisions else {})

    @property
    def scheduler(self) -> Any:
        """The checkpoint's diffusers scheduler; the engine reads its settings and never steps it."""
        return self.pipeline.scheduler

    @property
    def noise_schedule(self) -> NoiseSchedule:
        """What the checkpoint predicts and how it was noised in training."""
        return read_noise_schedule(self.scheduler)

    def batches(self, conditions: Sequence[str] = ()) -> bool:
        """Whether several clips can be generated at once that are made from conditions with these keys."""
        return True

    def build_solver(self, name: str | None, steps: int, shift: float | None = None) -> Solver:
        """A solver of the table, or the checkpoint's own (None), set up for a run of so many steps. shift: of a flow
        model's sigmas; None: the checkpoint's."""
        return build_solver(name, with_shift(self.scheduler, shift), steps, self.device)

    def open(self, spec: ClipSpec, text: ClipText, sources: Sequence[NoiseSource], solver: Solver) -> Clip:
        """Begin a batch of clips: one noise source per sample, a solver set up for this run."""
        assert isinstance(text, Conditioning)
        return GuidedClip(self, spec, text, sources, solver)

    @property
    def dense_only(self) -> str:
        """Why the denoiser's self-attention cannot be made sparse; empty where it can."""
        return ""

    def components(self) -> dict[str, nn.Module]:
        """The pipeline's modules by name: denoiser, VAE, text encoder."""
        return {n: c for n, c in self.pipeline.components.items() if isinstance(c, nn.Module)}

    def release(self) -> None:
        """After a run: move offloaded components back to the CPU."""
        self.pipeline.maybe_free_model_hooks()

    def expert(self, timestep: float, train_timesteps: int) -> int:
        """Which of the model's experts evaluates this timestep."""
        return 0

    @abstractmethod
    def family_defaults(self) -> dict[str, Any]:
        """Fields of `Defaults` for this family."""

    def family_training(self) -> dict[str, Any]:
        """Fields of `Training` in which this family's published weights differ from those of other models."""
        return {}

    @property
    def limits(self) -> ClipLimits:
        """The longest and largest clip for which the model has positions."""
        positions = self.temporal_positions
        return ClipLimits(None if positions is None else self.geometry.frame_map.frame_count(positions))

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype the denoiser computes in."""

    @abstractmethod
    def token_grid(self, latents_shape: Sequence[int]) -> TokenGrid:
        """The token grid of self-attention for latents of this shape."""

    @abstractmethod
    def denoisers(self) -> list[Any]:
        """The diffusers models that predict, one per expert."""

    def temporal_blocks(self) -> list[nn.Module]:
        """Modules that attend over frames alone, with positions counted from 0; none where there are no such layers.

        The forward of each takes `hidden_states` [n, frames, channels] first and returns the same shape; it ends with
        `hidden_states + ff(norm3(hidden_states))`.
        """
        return []

    @property
    def has_temporal_blocks(self) -> bool:
        """Whether there are layers that attend over frames alone, see `temporal_blocks`."""
        return bool(self.temporal_blocks())

    @property
    def temporal_positions(self) -> int | None:
        """Number of latent frame positions of the temporal blocks; None: any number."""
        return None

    @property
    def text_limit(self) -> int:
        """Number of tokens of a prompt that the model reads."""
        return int(self.pipeline.tokenizer.model_max_length)

    def read_prompt(self, prompt: str) -> PromptReading:
        """How much of a prompt the model reads, in which form, and which words it does not know."""
        given, prompt = prompt, self.normalise_prompt(prompt)
        tokenizer = self.pipeline.tokenizer
        fast = bool(getattr(tokenizer, "is_fast", False))
        read = tokenizer(prompt, truncation=False, return_offsets_mapping=fast, verbose=False)
        unknown: dict[str, None] = {}
        if fast and tokenizer.unk_token_id is not None:
            spans = zip(read["input_ids"], read["offset_mapping"], strict=True)
            unknown = {prompt[a:b]: None for token, (a, b) in spans if token == tokenizer.unk_token_id and b > a}
        return PromptReading(
            len(read["input_ids"]), self.text_limit, tuple(unknown), None if prompt == given else prompt
        )

    def measure_negative_prompt(self, negative_prompt: str) -> dict[str, Any]:
        """`negative_prompt` for a manifest's measurements, where a part of it has no effect; otherwise nothing."""
        reading = self.read_prompt(negative_prompt)
        return {"negative_prompt": reading.to_dict()} if reading.notes() else {}

    def normalise_prompt(self, prompt: str) -> str:
        """The prompt in the form of the captions that the model was trained with (`Training.prompt_grammar`)."""
        grammar = GRAMMARS.get(self.training.prompt_grammar)
        return prompt if grammar is None else grammar(prompt)

    def condition(self, prompts: Sequence[str], negatives: Sequence[str] | None) -> ClipText:
        """`encode_prompt` of prompts as a user writes them, each normalised."""
        rewrite = self.normalise_prompt
        return self.encode_prompt([*map(rewrite, prompts)], None if negatives is None else [*map(rewrite, negatives)])

    @abstractmethod
    def encode_prompt(self, prompts: Sequence[str], negatives: Sequence[str] | None) -> Conditioning:
        """Text embeddings [batch, tokens, width] of a batch of prompts. negatives: as many; None: without guidance."""

    @abstractmethod
    def start(self, noise: torch.Tensor, solver: Solver) -> torch.Tensor:
        """Initial latents [b, c, f, h, w] from standard normal noise, as the family scales them for this solver."""

    @abstractmethod
    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor, expert: int = 0
    ) -> torch.Tensor:
        """One model evaluation: the prediction for latents at a timestep, text [batch, tokens, width].

        timestep: a scalar, or one per latent frame, [frames] or [batch, frames], for models with
        `per_frame_timesteps`. Raises UnsupportedError where the model takes a scalar only, InputError where frames and
        timesteps do not match.
        """

    def frame_timesteps(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor | None:
        """The timestep of each latent frame, fp32 [batch, frames]; None for a scalar.

        Raises UnsupportedError and InputError as `predict`.
        """
        if timestep.ndim == 0:
            return None
        if not self.capabilities.per_frame_timesteps:
            raise UnsupportedError(
                f"timesteps {list(timestep.shape)} are one per latent frame, but {self.name!r} takes one for the "
                "entire clip; give a scalar"
            )
        batch, frames = latents.shape[0], latents.shape[2]
        if tuple(timestep.shape) not in ((frames,), (batch, frames)):
            raise InputError(
                f"timesteps {list(timestep.shape)} do not fit latents of batch {batch} and {frames} frames; "
                f"use a scalar, [{frames}] or [{batch}, {frames}]"
            )
        return timestep.to(latents.device, torch.float32).expand(batch, frames)

    @abstractmethod
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels [batch, frame, height, width, 3], fp32 in 0..1."""

    @abstractmethod
    def stream_decoder(self, length: int | None = None) -> StreamDecoder:
        """A decoder of one clip's latents as they are generated, bit for bit as `decode`; tiled if the VAE is now.
        length: how many latent frames there will be, where that is known."""

    @abstractmethod
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Latents (posterior mode) of frames, uint8 [batch, frame, height, width, 3]."""


def to_unit_range(video: torch.Tensor) -> torch.Tensor:
    """[b, 3, f, h, w] in -1..1, a VAE's output, to [b, f, h, w, 3] fp32 in 0..1. An Inf becomes NaN, not white."""
    video = torch.where(torch.isfinite(video), video, torch.nan)
    return (video * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 4, 1).float()


def to_signed_range(frames: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 [b, f, h, w, 3] to [b, 3, f, h, w] in -1..1."""
    return (frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1).to(dtype)
