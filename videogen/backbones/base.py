"""What a model family is, and nothing else: the contract between the engine and diffusers' models.

A backbone never loops, schedules, writes files or reads flags. Tensors at this border:
latents [batch, channel, frame, height, width]; frames uint8 [batch, frame, height, width, 3] RGB.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from videogen.attention.order import TokenGrid
from videogen.core.errors import InputError, UnsupportedError

from .defaults import Capabilities, Defaults, Training
from .streaming import StreamDecoder


@dataclass(frozen=True)
class LatentGeometry:
    """How a clip's pixels lie in latents.

    spatial, temporal: compression ratios; multiple: what width and height must be divisible by;
    single_first: latent 0 holds one frame (causal VAEs), so that frames = temporal * n + 1.
    """

    channels: int
    spatial: int
    temporal: int
    multiple: int
    single_first: bool

    def shape(self, frames: int, height: int, width: int, batch: int = 1) -> tuple[int, int, int, int, int]:
        """Shape [batch, channel, frame, height, width] of the latents of a clip in pixels."""
        count = (frames - 1) // self.temporal + 1 if self.single_first else frames // self.temporal
        return batch, self.channels, count, height // self.spatial, width // self.spatial

    def check(self, frames: int, height: int, width: int, name: str) -> None:
        """InputError, with the two nearest values that fit, where the clip does not fit the latents."""
        for side, value in (("width", width), ("height", height)):
            if value % self.multiple or value < 1:
                raise InputError(
                    f"{side}={value} is not a multiple of {self.multiple} for {name!r}; use {_near(value, self.multiple)}"
                )
        offset = 1 if self.single_first else 0
        if frames < 1 or (frames - offset) % self.temporal:
            rule = f"{self.temporal}k+1" if self.single_first else f"a multiple of {self.temporal}"
            raise InputError(
                f"frames={frames} is not {rule} for {name!r}; use {_near(frames - offset, self.temporal, offset)}"
            )


def _near(value: int, multiple: int, offset: int = 0) -> str:
    below = value // multiple * multiple
    options = [n + offset for n in (below, below + multiple) if n + offset > 0]
    return " or ".join(map(str, options))


@dataclass(frozen=True)
class Blend:
    """A further prompt. positive [batch, tokens, width]; share [batch, frames]: of each latent frame's prediction, 0 to
    1."""

    positive: torch.Tensor
    share: torch.Tensor


@dataclass(frozen=True)
class Conditioning:
    """Encoded text: positive and negative [batch, tokens, width]; negative is None without guidance.

    blends: further prompts, each frame by frame in its share; the rest is the positive's.
    """

    positive: torch.Tensor
    negative: torch.Tensor | None = None
    blends: tuple[Blend, ...] = ()

    def within(self, slots: slice) -> Conditioning:
        """For some of the clip's latent frames: the prompts that have a share there, the greatest first."""
        if not self.blends:
            return self
        shares = [blend.share[:, slots] for blend in self.blends]
        ranked = [
            (1 - torch.stack(shares).sum(0), self.positive),
            *zip(shares, (blend.positive for blend in self.blends), strict=True),
        ]
        ranked = sorted((pair for pair in ranked if bool((pair[0] > 0).any())), key=lambda pair: -float(pair[0].sum()))
        return Conditioning(ranked[0][1], self.negative, tuple(Blend(text, share) for share, text in ranked[1:]))


@dataclass(frozen=True)
class PromptReading:
    """tokens of a prompt; limit: how many of them the model reads; unknown: words that it does not know."""

    tokens: int
    limit: int
    unknown: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """What the user ought to know."""
        notes = []
        if self.tokens > self.limit:
            notes.append(
                f"the prompt is {self.tokens} tokens long and the model reads the first {self.limit}; the rest has no effect"
            )
        if self.unknown:
            shown = ", ".join(map(repr, self.unknown[:8])) + (", ..." if len(self.unknown) > 8 else "")
            notes.append(f"the model does not know {shown}")
        return notes


class Backbone(ABC):
    """One loaded model. Subclasses hold a diffusers pipeline for its components; they never call it."""

    family: str
    #: How the family's own pipeline evaluates guidance: `sequential` or `batched`.
    native_guidance: str

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

    @property
    def device(self) -> torch.device:
        return torch.device(self.pipeline._execution_device)

    @property
    def identity(self) -> dict[str, str]:
        """Which model this is, for manifests and journals."""
        return {"name": self.name, "family": self.family, "hash": self.digest}

    @property
    def scheduler(self) -> Any:
        """The checkpoint's own scheduler; the engine copies it, never steps it."""
        return self.pipeline.scheduler

    def components(self) -> dict[str, nn.Module]:
        return {n: c for n, c in self.pipeline.components.items() if isinstance(c, nn.Module)}

    def release(self) -> None:
        """After a run: offloaded components go back to where they rest."""
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
    def takes_clean_prefix(self) -> bool:
        """Whether a clip can continue from finished frames: the architecture and the training both allow it."""
        return self.capabilities.per_frame_timesteps and self.training.clean_prefix

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    @property
    @abstractmethod
    def geometry(self) -> LatentGeometry: ...

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype the denoiser computes in."""

    @abstractmethod
    def token_grid(self, latents_shape: Sequence[int]) -> TokenGrid:
        """Where the tokens of latents of this shape lie in self-attention."""

    @abstractmethod
    def denoisers(self) -> list[Any]:
        """The diffusers models that predict, one an expert."""

    @abstractmethod
    def encoder_decoder(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """Which of the denoiser's modules are its encoder and which its decoder, in order."""

    def temporal_blocks(self) -> list[nn.Module]:
        """Modules that mix frames within a sequence over frames, positions counted from 0; none where time has no
        layers of its own.

        Each one's forward takes `hidden_states` [n, frames, channels] first and returns the same shape.
        """
        return []

    @property
    def temporal_positions(self) -> int | None:
        """How many frames the temporal blocks' position tables hold; None: any number."""
        return None

    @property
    def text_limit(self) -> int:
        """How many tokens of a prompt the model reads."""
        return int(self.pipeline.tokenizer.model_max_length)

    def read_prompt(self, prompt: str) -> PromptReading:
        """How much of a prompt the model reads, and which words it does not know."""
        tokenizer = self.pipeline.tokenizer
        fast = bool(getattr(tokenizer, "is_fast", False))
        read = tokenizer(prompt, truncation=False, return_offsets_mapping=fast, verbose=False)
        strange: dict[str, None] = {}
        if fast and tokenizer.unk_token_id is not None:
            spans = zip(read["input_ids"], read["offset_mapping"], strict=True)
            strange = {prompt[a:b]: None for token, (a, b) in spans if token == tokenizer.unk_token_id and b > a}
        return PromptReading(len(read["input_ids"]), self.text_limit, tuple(strange))

    @abstractmethod
    def encode_prompt(self, prompts: Sequence[str], negatives: Sequence[str] | None) -> Conditioning: ...

    @abstractmethod
    def start(self, noise: torch.Tensor, solver: Any) -> torch.Tensor:
        """Initial latents from standard normal noise, as the family scales them for this solver."""

    @abstractmethod
    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor, expert: int = 0
    ) -> torch.Tensor:
        """One model evaluation: the prediction for latents at a timestep, text [batch, tokens, width].

        timestep: a scalar; or one a latent frame, [frames] or [batch, frames], for models that have
        `per_frame_timesteps`. Raises UnsupportedError where a model takes one alone, InputError where frames and
        timesteps do not match.
        """

    def frame_timesteps(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor | None:
        """Each latent frame's timestep, fp32 [batch, frames]; None where one scalar is given for all. Raises as
        `predict`."""
        if timestep.ndim == 0:
            return None
        if not self.capabilities.per_frame_timesteps:
            raise UnsupportedError(
                f"timesteps {list(timestep.shape)} are one per latent frame, but {self.name!r} takes one for the entire clip; "
                "give a scalar"
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
    def stream_decoder(self) -> StreamDecoder:
        """Decodes one clip's latents as they come: its pixels are `decode`'s, bit for bit. Tiled if the VAE is set so
        now."""

    @abstractmethod
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Latents (posterior mode) of frames, uint8 [batch, frame, height, width, 3]."""


def to_unit_range(video: torch.Tensor) -> torch.Tensor:
    """[b, 3, f, h, w] in -1..1, as VAEs give it, to [b, f, h, w, 3] fp32 in 0..1. An Inf becomes NaN, not white."""
    video = torch.where(torch.isfinite(video), video, torch.nan)
    return (video * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 4, 1).float()


def to_signed_range(frames: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 [b, f, h, w, 3] to [b, 3, f, h, w] in -1..1."""
    return (frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1).to(dtype)
