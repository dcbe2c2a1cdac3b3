"""Wan 2.1 and 2.2: flow-matching DiTs over a causal VAE with 4x temporal compression.

Covers the two experts of 2.2 (a high-noise and a low-noise transformer, split at `boundary_ratio`) and its
`expand_timesteps` models, which take one timestep per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from videogen.attention.order import TokenGrid
from videogen.schedulers.solver import Solver

from .codecs.wan import WanCodec
from .conditioning import Conditioning
from .specified import SpecifiedBackbone
from .streaming import StreamDecoder
from .wan_spec import NATIVE_GUIDANCE, read_spec

_LONGEST_TEXT = 512


class WanBackbone(SpecifiedBackbone):
    """Over the components of `diffusers.WanPipeline`."""

    family = "wan"
    native_guidance = NATIVE_GUIDANCE
    read_spec = staticmethod(read_spec)

    @property
    def dtype(self) -> torch.dtype:
        return self.denoisers()[0].dtype

    def denoisers(self) -> list[Any]:
        return [m for m in (self.pipeline.transformer, self.pipeline.transformer_2) if m is not None]

    def token_grid(self, latents_shape: Sequence[int]) -> TokenGrid:
        t, h, w = self.denoisers()[0].config.patch_size
        return TokenGrid(latents_shape[2] // t, latents_shape[3] // h, latents_shape[4] // w)

    def expert(self, timestep: float, train_timesteps: int) -> int:
        boundary = self.pipeline.config.boundary_ratio
        if boundary is None or len(self.denoisers()) < 2:
            return 0
        return 0 if timestep >= boundary * train_timesteps else 1

    @property
    def text_limit(self) -> int:
        """At most 512 tokens, the pipeline's default, and no more than the tokenizer states: texts are padded to that
        length, as a model with short texts was trained. The pipeline itself needs `max_sequence_length` for that."""
        return min(_LONGEST_TEXT, super().text_limit)

    def encode_prompt(self, prompts: Sequence[str], negatives: Sequence[str] | None) -> Conditioning:
        positive, negative = self.pipeline.encode_prompt(
            prompt=list(prompts),
            negative_prompt=None if negatives is None else list(negatives),
            do_classifier_free_guidance=negatives is not None,
            max_sequence_length=self.text_limit,
            device=self.device,
        )
        return Conditioning(positive.to(self.dtype), None if negative is None else negative.to(self.dtype))

    def start(self, noise: torch.Tensor, solver: Solver) -> torch.Tensor:
        solver.begin_at(0)
        return noise.to(self.device, torch.float32)

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor, expert: int = 0
    ) -> torch.Tensor:
        model = self.denoisers()[expert]
        prediction = model(
            hidden_states=latents.to(self.dtype),
            timestep=self._timesteps(latents, timestep),
            encoder_hidden_states=text,
            return_dict=False,
        )
        return prediction[0]

    def _timesteps(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """One timestep per sample; one per token, that of its latent frame, where frames have separate timesteps, and
        always for `expand_timesteps` models."""
        own = self.frame_timesteps(latents, timestep)
        grid = self.token_grid(latents.shape)
        if own is not None:
            return own.repeat_interleave(grid.height * grid.width, dim=1)
        if not self.pipeline.config.expand_timesteps:
            return timestep.expand(latents.shape[0])
        ones = torch.ones(grid.video_tokens, dtype=torch.float32, device=latents.device)
        return (ones * timestep).unsqueeze(0).expand(latents.shape[0], -1)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return WanCodec(self.pipeline).decode(latents)

    def stream_decoder(self, length: int | None = None) -> StreamDecoder:
        return WanCodec(self.pipeline).stream(length)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return WanCodec(self.pipeline).encode(frames)
